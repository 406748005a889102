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

from datasets.workers import explain_dead_workers
from models.weights import load_pretrained
from phases import test
from phases.train.monitor import LossMonitor, check_weights
from phases.train.trainer import Trainer, lr_factor
from run import results, validation
from run.checkpoint import check_lists
from run.config import (
    CONTINUED_FIELDS,
    Config,
    check_speed,
    config_from_options,
    default_folders_from_checkpoint,
    default_from_checkpoint,
    require_same_as_checkpoint,
    resolve_training,
)
from run.lists import load_lists
from run.next_command import announce
from run.plots import save_training_curves
from run.provenance import revision
from run.training_data import measure_familiarity
from utils import checkpoint_files, checkpoints, distributed
from utils.errors import Diverged, UserError
from utils.files import remove_stale_temporaries
from utils.hardware import describe_machine, get_machine_info
from utils.locks import folder_lock
from utils.signals import catch_stop_signals
from utils.tracking import Scalars

log = logging.getLogger(__name__)

BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"  # fits 80 columns
SCALARS = ["loss", "lr", "alpha", "images_per_second"]


def run(options: argparse.Namespace) -> int:
    """Train up to --num_steps and test. Returns the exit status: not 0 when a signal stopped it."""
    config = config_from_options(options)
    exit_code = train_and_test(config)
    if exit_code == 0:
        announce("train", config)
    return exit_code


def train_and_test(config: Config) -> int:
    """What `run` does, in each of the processes that torchrun started, or in the one."""
    revision()  # the one that runs: by the first checkpoint, the files may have changed
    with distributed.process_group(), explain_dead_workers():
        return train_in_group(config)


def train_in_group(config: Config) -> int:
    """What `train_and_test` does, once the processes are joined."""
    models = config.folder / "model"
    steps = distributed.broadcast_object(checkpoint_files.saved_steps(models))
    if not steps:
        refuse_published(models)
    trainer = resume(config, checkpoint_files.checkpoint_path(models, steps[-1])) if steps else begin(config)
    log.info("%s", trainer)
    with distributed.on_main_process(folder_lock(config.folder)):  # up to here, nothing is written
        since = distributed.broadcast_object(checkpoint_files.saved_steps(models))
        if since != steps:  # another run was at it meanwhile
            trainer = resume(config, checkpoint_files.checkpoint_path(models, since[-1]))
        if distributed.rank() == 0:
            results.read_records(config.folder / "log" / "result.json")  # its own word, now
            for name in ("model", "log", "vec"):
                remove_stale_temporaries(config.folder / name)
        if trainer.step < trainer.config.train.num_steps:
            exit_code = train(trainer)
            if exit_code:
                return exit_code
        test.evaluate_checkpoint(trainer.config.with_values(pretrained_model=trainer.step))
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


def begin(config: Config) -> Trainer:
    """A new run, from the weights of --backbone_weights."""
    config = resolve_training(config)
    trainer = Trainer(config, load_lists(config))
    if config.train.backbone_weights != "none" and distributed.rank() == 0:  # the others get its weights
        report = load_pretrained(
            trainer.network,
            config.network.network,
            config.train.backbone_weights,
            pad_se=config.train.pad_pretrained_se,
        )
        log.info("weights of %s: %s", config.train.backbone_weights, report)
    return trainer


def resume(config: Config, path: Path) -> Trainer:
    """The run whose newest checkpoint is at `path`, as it was then."""
    state = validation.read(path)
    wanted = config.train.num_steps if "num_steps" in config.given else 0
    trained_for = state["options"]["num_steps"]
    longer = wanted > trained_for
    names = tuple(name for name in CONTINUED_FIELDS if name != "num_steps" or not longer)
    config = require_same_as_checkpoint(config, state["options"], names, path)
    lengthened = state["options"]["lengthened"]
    config = config.with_values(lengthened=[*lengthened, trained_for] if longer else lengthened)
    config = default_from_checkpoint(config, state["options"], ("threads",))
    config = default_folders_from_checkpoint(config, state["options"])
    check_speed(config)
    validation.check_network(config, state["network"], path)
    excluded = state["left_out"]
    data = load_lists(config, excluded)
    check_lists(data, state["lists"], path)
    if len(data.excluded) > len(excluded):
        log.warning(
            "warning: this training had not left them out: continued without, it is not the same any more"
        )
    trainer = Trainer(config, data)
    with validation.continuing(path):
        validation.check_training(state, trainer.optimizer, trainer.schedule)
        trainer.load_state_dict(state, path)
    log.info("continuing after step %d of %s", trainer.step, path)
    report_other_machine(state["machine"], get_machine_info(str(trainer.device)))
    if longer:
        report_lengthening(trainer, trained_for)
    return trainer


def report_other_machine(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Log it if a training continues where sums come in another order. `before` is empty if unknown."""
    # beside a GPU, what is on the CPU changes nothing
    same = before.get("GPU") == now["GPU"] if "GPU" in now else before == now
    if before and not same:
        log.info(
            "trained on %s up to here, goes on with %s: the weights are not those of an unbroken run to the "
            "last bit",
            describe_machine(before),
            describe_machine(now),
        )


def report_lengthening(trainer: Trainer, trained_for: int) -> None:
    """Say what more steps than `trained_for` mean for the learning rate, and so for the weights."""
    step, wanted = trainer.step, trainer.config.train.num_steps
    before, after = (lr_factor(step, length) for length in (trained_for, wanted))
    if before == after:
        effect = "the learning rate has not fallen yet: the weights will be those of an unbroken run"
    else:
        effect = (
            f"the learning rate fell linearly to {before:.3g} of --lr by now and goes on at {after:.3g}, as "
            "in an unbroken run of that length, whose weights it does not repeat"
        )
    log.info("lengthened from %d to %d steps: %s", trained_for, wanted, effect)


def train(trainer: Trainer) -> int:
    """Train from `trainer.step` to --num_steps, saving on the way; returns an exit status."""
    config = trainer.config
    batches = trainer.batches()
    progress = tqdm(
        total=config.train.num_steps,
        initial=trainer.step,
        desc="train",
        dynamic_ncols=True,
        bar_format=BAR,
        disable=distributed.rank() > 0,
    )
    images_a_step = 2 * config.data.batch_size * distributed.world_size()
    watch = LossMonitor(trainer)
    exit_code, begun = 0, False
    with (
        logging_redirect_tqdm(),
        catch_stop_signals() as stop,
        (
            nullcontext()
            if distributed.rank()
            else Scalars(config.folder / "log", SCALARS, start_step=trainer.step)
        ) as scalars,
        saving_on_error(trainer, watch),
        explain_dead_workers(),
        progress,
    ):
        since = time.monotonic()
        for pair in batches:
            watch.step(pair)
            progress.update()
            # one is stopped, all stop; the first step may compile, on some longer than on others
            exit_code = distributed.all_reduce_max(stop.exit_code, long_wait=not begun)
            begun = True
            ending = bool(exit_code) or trainer.step == config.train.num_steps
            saving = ending or trainer.step % config.train.model_save_step == 0
            if saving or trainer.step % config.train.log_step == 0:
                now = time.monotonic()
                images_per_second = images_a_step * len(watch.losses) / (now - since)
                row = [watch.row(), trainer.last_lr, trainer.alpha, images_per_second]
                if scalars:
                    scalars.write(trainer.step, dict(zip(SCALARS, row, strict=True)))
                progress.set_postfix_str("loss {0:.3f}, lr {1:.1e}, {3:.0f} images/s".format(*row))
                since = now
            if saving:
                save(trainer)
            if ending:
                break
    if scalars:
        save_training_curves(
            config.folder / "log" / "scalars.csv",
            config.folder / "log" / "curves.png",
            run=config.save_path,
            classes=trainer.data.num_train_classes,
            margin=config.loss.margin is not None,
        )
    if exit_code:
        log.info("stopped after step %d and saved; the same command continues", trainer.step)
    return exit_code


def save(trainer: Trainer) -> None:
    """Write a checkpoint, then remove those that --keep leaves out. Raises Diverged for weights like NaN."""
    config = trainer.config
    folder = config.folder
    state = trainer.state_dict()  # of all processes
    check_weights(state)
    with distributed.main_process_first():
        if distributed.rank() == 0:
            if trainer.step == config.train.num_steps:
                state["familiarity_limit"] = measure_familiarity(state, trainer.data, config, trainer.device)
            checkpoints.save(checkpoint_files.checkpoint_path(folder / "model", trainer.step), state)
            if config.train.keep:
                best = results.best_step(folder / "log" / "result.json", config.test.test_distance)
                checkpoints.keep_newest(folder / "model", config.train.keep, best)


@contextmanager
def saving_on_error(trainer: Trainer, watch: LossMonitor) -> Iterator[None]:
    """Save before a UserError (an unreadable image, say) ends the run, unless a number was not finite."""
    start = trainer.step
    try:
        yield
    except UserError as error:
        alone = distributed.world_size() == 1  # others may be in the middle of the next step
        if alone and trainer.step > start and not isinstance(error, Diverged) and watch.good():
            save(trainer)
            log.info("saved after step %d", trainer.step)
        raise
