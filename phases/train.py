"""--phase=train: the published recipe (docs/method.md, Training), from the newest checkpoint on.

One step takes `batch_size` sketches and `batch_size` photos through one network, in one batch.
"""

import argparse
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from datasets.workers import naming_dead_workers
from models.weights import initialise
from phases import results, settings, stored, test
from phases.divergence import Watch, check_weights
from phases.lists import load_lists
from phases.plots import save_training_curves
from phases.provenance import revision
from phases.trainer import Trainer, lr_factor
from phases.training_data import measure_familiarity
from utils import checkpoint_files, checkpoints, distributed
from utils.errors import Diverged, UserError
from utils.files import remove_leftovers
from utils.hardware import describe, machine
from utils.locks import exclusive
from utils.signals import stop_requests
from utils.tracking import Scalars

log = logging.getLogger(__name__)

CONTINUED = settings.NETWORK_OPTIONS + settings.TRAINING_OPTIONS + settings.RUN_OPTIONS
BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"  # fits 80 columns
SCALARS = ["loss", "lr", "alpha", "images_per_second"]


def run(options: argparse.Namespace) -> int:
    """Train up to --num_steps and test. Returns the exit status: not 0 when a signal stopped it."""
    revision()  # the one that runs: by the first checkpoint, the files may have changed
    with distributed.joined(), naming_dead_workers():
        return train_and_test(options)


def train_and_test(options: argparse.Namespace) -> int:
    """What `run` does, in each of the processes that torchrun started, or in the one."""
    models = settings.run_folder(options) / "model"
    steps = distributed.said_by_the_first(checkpoint_files.saved_steps(models))
    if not steps:
        refuse_published(models)
    trainer = resume(options, checkpoint_files.path_for(models, steps[-1])) if steps else begin(options)
    log.info("%s", trainer)
    with distributed.first_only(exclusive(settings.run_folder(options))):  # up to here, nothing is written
        since = distributed.said_by_the_first(checkpoint_files.saved_steps(models))
        if since != steps:  # another run was at it meanwhile
            trainer = resume(options, checkpoint_files.path_for(models, since[-1]))
        if distributed.rank() == 0:
            results.read_records(settings.run_folder(options) / "log" / "result.json")  # its own word, now
            for name in ("model", "log", "vec"):
                remove_leftovers(settings.run_folder(options) / name)
        if trainer.step < options.num_steps:
            exit_code = train(trainer, options)
            if exit_code:
                return exit_code
        options.pretrained_model = options.num_steps
        test.evaluate_checkpoint(options)
    return 0


def refuse_published(models: Path) -> None:
    """Raise UserError if the folder holds checkpoints of the published program: they cannot be continued."""
    pairs = checkpoint_files.saved_pairs(models)
    networks = [pair.network for pair in pairs.values() if pair.network]
    if pairs:
        start = f", from these weights with --backbone_weights={networks[-1]}" if networks else ""
        raise UserError(
            f"{models} holds checkpoints of the published program alone (step {', '.join(map(str, pairs))}): "
            f"they have no state of a training to continue. Test them with --phase=test, or train under "
            f"another --save_path{start}"
        )


def begin(options: argparse.Namespace) -> Trainer:
    """A new run, from the weights of --backbone_weights."""
    settings.resolve_training(options)
    trainer = Trainer(options, load_lists(options))
    if options.backbone_weights != "none" and distributed.rank() == 0:  # the others get its weights
        report = initialise(
            trainer.network, options.network, options.backbone_weights, pad_se=options.pad_pretrained_se
        )
        log.info("weights of %s: %s", options.backbone_weights, report)
    return trainer


def resume(options: argparse.Namespace, path: Path) -> Trainer:
    """The run whose newest checkpoint is at `path`, as it was then."""
    state = stored.read(path)
    wanted = options.num_steps if "num_steps" in options.given else 0
    trained_for = state["options"].get("num_steps", wanted)
    longer = wanted > trained_for
    names = tuple(name for name in CONTINUED if name != "num_steps" or not longer)
    settings.adopt(options, state["options"], names, path)
    lengthened = [*state["options"].get("lengthened", []), *[trained_for] * longer]
    if lengthened:  # absent in a run that never was, so that its records are those of an unbroken one
        options.lengthened = lengthened
    settings.inherit(options, state["options"], ("threads",))
    settings.inherit_folders(options, state["options"])
    settings.resolve_speed(options)
    stored.check_network(options, state["network"], path)
    left_out = state.get("left_out", [])
    data = load_lists(options, left_out)
    settings.check_lists(data, state["lists"], path)
    if len(data.left_out) > len(left_out):
        log.warning(
            "warning: this training had not left them out: continued without, it is not the same any more"
        )
    trainer = Trainer(options, data)
    with stored.continuing(path):
        stored.check_training(state, trainer.optimizer, trainer.schedule)
        trainer.load_state_dict(state, path)
    log.info("continuing after step %d of %s", trainer.step, path)
    report_other_machine(state.get("machine", {}), machine(str(trainer.device)))
    if longer:
        report_lengthening(trainer, trained_for)
    return trainer


def report_other_machine(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Say if a training goes on where sums come in another order. Older checkpoints do not say theirs."""
    # beside a GPU, what is on the CPU changes nothing
    same = before.get("GPU") == now["GPU"] if "GPU" in now else before == now
    if before and not same:
        log.info(
            "trained on %s up to here, goes on with %s: the weights are not those of an unbroken run to the "
            "last bit",
            describe(before),
            describe(now),
        )


def report_lengthening(trainer: Trainer, trained_for: int) -> None:
    """Say what more steps than `trained_for` mean for the learning rate, and so for the weights."""
    step, wanted = trainer.step, trainer.options.num_steps
    before, after = (lr_factor(step, length) for length in (trained_for, wanted))
    if before == after:
        effect = "the learning rate has not fallen yet: the weights will be those of an unbroken run"
    else:
        effect = (
            f"the learning rate fell linearly to {before:.3g} of --lr by now and goes on at {after:.3g}, as "
            "in an unbroken run of that length, whose weights it does not repeat"
        )
    log.info("lengthened from %d to %d steps: %s", trained_for, wanted, effect)


def train(trainer: Trainer, options: argparse.Namespace) -> int:
    """Train from `trainer.step` to --num_steps, saving on the way; returns an exit status."""
    folder = settings.run_folder(options)
    batches = trainer.batches()
    progress = tqdm(
        total=options.num_steps,
        initial=trainer.step,
        desc="train",
        dynamic_ncols=True,
        bar_format=BAR,
        disable=distributed.rank() > 0,
    )
    images_a_step = 2 * options.batch_size * distributed.size()
    watch = Watch(trainer)
    exit_code, begun = 0, False
    with (
        logging_redirect_tqdm(),
        stop_requests() as stop,
        (
            nullcontext() if distributed.rank() else Scalars(folder / "log", SCALARS, start_step=trainer.step)
        ) as scalars,
        saving_on_error(trainer, options, watch),
        naming_dead_workers(),
        progress,
    ):
        since = time.monotonic()
        for pair in batches:
            watch.step(pair)
            progress.update()
            # one is stopped, all stop; the first step may compile, on some longer than on others
            exit_code = distributed.largest(stop.exit_code, patient=not begun)
            begun = True
            ending = bool(exit_code) or trainer.step == options.num_steps
            saving = ending or trainer.step % options.model_save_step == 0
            if saving or trainer.step % options.log_step == 0:
                now = time.monotonic()
                images_per_second = images_a_step * len(watch.losses) / (now - since)
                row = [watch.row(), trainer.last_lr, trainer.alpha, images_per_second]
                if scalars:
                    scalars.write(trainer.step, dict(zip(SCALARS, row, strict=True)))
                progress.set_postfix_str("loss {0:.3f}, lr {1:.1e}, {3:.0f} images/s".format(*row))
                since = now
            if saving:
                save(trainer, options)
            if ending:
                break
    if scalars:
        save_training_curves(
            folder / "log" / "scalars.csv",
            folder / "log" / "curves.png",
            run=options.save_path,
            classes=trainer.data.trained,
            margin=options.margin is not None,
        )
    if exit_code:
        log.info("stopped after step %d and saved; the same command continues", trainer.step)
    return exit_code


def save(trainer: Trainer, options: argparse.Namespace) -> None:
    """Write a checkpoint, then remove those that --keep leaves out. Raises Diverged for weights like NaN."""
    folder = settings.run_folder(options)
    state = trainer.state_dict()  # of all processes
    check_weights(state)
    with distributed.first_alone():
        if distributed.rank() == 0:
            if trainer.step == options.num_steps:
                state["familiarity_limit"] = measure_familiarity(state, trainer.data, options, trainer.device)
            checkpoints.save(checkpoint_files.path_for(folder / "model", trainer.step), state)
            if options.keep:
                best = results.best_step(folder / "log" / "result.json", options.test_distance)
                checkpoints.keep_newest(folder / "model", options.keep, best)


@contextmanager
def saving_on_error(trainer: Trainer, options: argparse.Namespace, watch: Watch) -> Iterator[None]:
    """Save before a UserError (an unreadable image, say) ends the run, unless a number was not finite."""
    start = trainer.step
    try:
        yield
    except UserError as error:
        alone = distributed.size() == 1  # others may be in the middle of the next step
        if alone and trainer.step > start and not isinstance(error, Diverged) and watch.good():
            save(trainer, options)
            log.info("saved after step %d", trainer.step)
        raise
