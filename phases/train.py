"""--phase=train: the paper's recipe (section 4.1; SPEC section 3), from the newest checkpoint on.

One step takes `batch_size` sketches and `batch_size` photos through one network, in one batch.
"""

import argparse
import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from datasets.annotations import load_annotation
from models.weights import initialise
from phases import settings, test
from phases.trainer import Trainer
from utils import checkpoints, distributed
from utils.errors import Diverged, UserError
from utils.figures import save_curves
from utils.locks import exclusive
from utils.signals import stop_requests
from utils.tracking import Scalars

log = logging.getLogger(__name__)

CONTINUED = settings.NETWORK_OPTIONS + settings.TRAINING_OPTIONS + settings.RUN_OPTIONS
BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"  # fits 80 columns
SCALARS = ["loss", "lr", "alpha", "images_per_second"]


def run(options: argparse.Namespace) -> int:
    """Train up to --num_steps and test. Returns the exit status: not 0 when a signal stopped it."""
    with distributed.joined():
        return train_and_test(options)


def train_and_test(options: argparse.Namespace) -> int:
    """What `run` does, in each of the processes that torchrun started, or in the one."""
    models = settings.run_folder(options) / "model"
    steps = distributed.said_by_the_first(checkpoints.saved_steps(models))
    trainer = resume(options, checkpoints.path_for(models, steps[-1])) if steps else begin(options)
    log.info("%s", trainer)
    with distributed.first_only(exclusive(settings.run_folder(options))):  # up to here, nothing is written
        since = distributed.said_by_the_first(checkpoints.saved_steps(models))
        if since != steps:  # another run was at it meanwhile
            trainer = resume(options, checkpoints.path_for(models, since[-1]))
        if trainer.step < options.num_steps:
            exit_code = train(trainer, options)
            if exit_code:
                return exit_code
        options.pretrained_model = options.num_steps
        test.evaluate_checkpoint(options)
    return 0


def begin(options: argparse.Namespace) -> Trainer:
    """A new run, from the weights of --backbone_weights."""
    settings.resolve_training(options)
    trainer = Trainer(options, load_annotation(options.data_path, options.anno_path, options.dataset))
    if options.backbone_weights != "none" and distributed.rank() == 0:  # the others get its weights
        report = initialise(
            trainer.network, options.network, options.backbone_weights, pad_se=options.pad_pretrained_se
        )
        log.info("weights of %s: %s", options.backbone_weights, report)
    return trainer


def resume(options: argparse.Namespace, path: Path) -> Trainer:
    """The run whose newest checkpoint is at `path`, as it was then."""
    state = checkpoints.load(path, required=settings.CHECKPOINT_ENTRIES)
    settings.adopt(options, state["options"], CONTINUED, path)
    settings.resolve_speed(options)
    data = load_annotation(options.data_path, options.anno_path, options.dataset)
    settings.check_lists(data, state["lists"], path)
    trainer = Trainer(options, data)
    trainer.load_state_dict(state, path)
    log.info("continuing after step %d of %s", trainer.step, path)
    return trainer


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
    losses: list[Tensor] = []  # since the last row of the log
    exit_code, begun = 0, False
    with (
        logging_redirect_tqdm(),
        stop_requests() as stop,
        (
            nullcontext() if distributed.rank() else Scalars(folder / "log", SCALARS, start_step=trainer.step)
        ) as scalars,
        saving_on_error(trainer, folder, losses),
        progress,
    ):
        since = time.monotonic()
        for sketches, photos in batches:
            losses.append(trainer.training_step(sketches, photos))
            progress.update()
            # one is stopped, all stop; the first step may compile, on some longer than on others
            exit_code = distributed.largest(stop.exit_code, patient=not begun)
            begun = True
            ending = bool(exit_code) or trainer.step == options.num_steps
            saving = ending or trainer.step % options.model_save_step == 0
            if saving or trainer.step % options.log_step == 0:
                now = time.monotonic()
                images_per_second = images_a_step * len(losses) / (now - since)
                row = [finite_mean(losses, trainer.step), trainer.last_lr, trainer.alpha, images_per_second]
                if scalars:
                    scalars.write(trainer.step, dict(zip(SCALARS, row, strict=True)))
                progress.set_postfix_str("loss {0:.3f}, lr {1:.1e}, {3:.0f} images/s".format(*row))
                losses.clear()
                since = now
            if saving:
                save(trainer, folder)
            if ending:
                break
    if scalars:
        save_curves(folder / "log" / "scalars.csv", folder / "log" / "curves.png")
    if exit_code:
        log.info("stopped after step %d and saved; the same command continues", trainer.step)
    return exit_code


def save(trainer: Trainer, folder: Path) -> None:
    state = trainer.state_dict()  # of all processes
    with distributed.first_alone():
        if distributed.rank() == 0:
            checkpoints.save(checkpoints.path_for(folder / "model", trainer.step), state)


@contextmanager
def saving_on_error(trainer: Trainer, folder: Path, losses: list[Tensor]) -> Iterator[None]:
    """Save before a UserError (an unreadable image, say) ends the run, unless a loss was not finite."""
    start = trainer.step
    try:
        yield
    except UserError:
        alone = distributed.size() == 1  # others may be in the middle of the next step
        if alone and trainer.step > start and (not losses or torch.stack(losses).isfinite().all()):
            save(trainer, folder)
            log.info("saved after step %d", trainer.step)
        raise


def finite_mean(losses: list[Tensor], step: int) -> float:
    """Mean of the losses since the last row. Raises Diverged if it is not finite: nothing is saved then."""
    mean = distributed.mean(float(torch.stack(losses).mean()))
    if not math.isfinite(mean):
        raise Diverged(
            f"the loss became {mean} within the {len(losses)} steps up to {step}; checkpoints stay. "
            "Train under another --save_path with a smaller --lr or a longer --annealing_step"
        )
    return mean
