"""--phase=train: the paper's recipe (section 4.1; SPEC section 3), from the newest checkpoint on.

One step takes `batch_size` sketches and `batch_size` photos through one network, in one batch.
"""

import argparse
import logging
import math
import time

import torch
from torch import Tensor
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from datasets.annotations import load_annotation
from models.weights import initialise
from phases import settings, test
from phases.trainer import Trainer
from utils import checkpoints
from utils.errors import UserError
from utils.figures import save_curves
from utils.signals import stop_requests
from utils.tracking import Scalars

log = logging.getLogger(__name__)

WEIGHT_DECAY = 1e-4  # on the network alone
SCALARS = ["loss", "lr", "alpha", "images_per_second"]


def run(options: argparse.Namespace) -> int:
    """Train up to --num_steps and test. Returns the exit status: not 0 when a signal stopped it."""
    settings.check_names(options)
    folder = settings.run_folder(options)
    saved = checkpoints.find(folder / "model") if checkpoints.saved_steps(folder / "model") else None
    state = checkpoints.load(saved) if saved else None
    if saved and state:
        settings.adopt(options, state["options"], settings.NETWORK_OPTIONS + settings.TRAINING_OPTIONS, saved)
    else:
        settings.resolve_training(options)
    data = load_annotation(options.data_path / options.dataset, options.anno_path, options.dataset)
    if state and state["lists"] != data.digest():
        raise UserError(f"{saved} was trained with other annotation lists; choose another --save_path")
    trainer = Trainer(options, data)
    if state:
        trainer.load_state_dict(state)
        log.info("continuing after step %d of %s", trainer.step, saved)
    elif options.backbone_weights != "none":
        report = initialise(
            trainer.network, options.network, options.backbone_weights, pad_se=options.pad_pretrained_se
        )
        log.info("weights of %s: %s", options.backbone_weights, report)
    log.info("%s", trainer)
    if trainer.step < options.num_steps:
        exit_code = train(trainer, options)
        if exit_code:
            return exit_code
    options.pretrained_model = options.num_steps
    test.run(options)
    return 0


def train(trainer: Trainer, options: argparse.Namespace) -> int:
    """Train from `trainer.step` to --num_steps, saving on the way; returns an exit status."""
    folder = settings.run_folder(options)
    batches = trainer.batches()
    progress = tqdm(
        total=options.num_steps, initial=trainer.step, unit="step", desc="train", dynamic_ncols=True
    )
    with (
        logging_redirect_tqdm(),
        stop_requests() as stop,
        Scalars(folder / "log", SCALARS, start_step=trainer.step) as scalars,
        progress,
    ):
        losses: list[Tensor] = []
        since = time.monotonic()
        for sketches, photos in batches:
            losses.append(trainer.training_step(sketches, photos))
            progress.update()
            last = trainer.step == options.num_steps
            saving = last or bool(stop) or trainer.step % options.model_save_step == 0
            if saving or trainer.step % options.log_step == 0:
                now = time.monotonic()
                images_per_second = 2 * options.batch_size * len(losses) / (now - since)
                row = [finite_mean(losses, trainer.step), trainer.last_lr, trainer.alpha, images_per_second]
                scalars.write(trainer.step, dict(zip(SCALARS, row, strict=True)))
                progress.set_postfix_str("loss={:.3f}, lr={:.1e}, alpha={:.2f}, {:.0f} images/s".format(*row))
                losses, since = [], now
            if saving:
                path = checkpoints.path_for(folder / "model", trainer.step)
                checkpoints.save(path, trainer.state_dict())
            if last or stop:
                break
    save_curves(folder / "log" / "scalars.csv", folder / "log" / "curves.png")
    if stop:
        log.info("stopped after step %d, saved in %s; the same command continues", trainer.step, path)
        return stop.exit_code
    return 0


def finite_mean(losses: list[Tensor], step: int) -> float:
    """Mean of the losses since the last row. Raises UserError if it is not finite: nothing is saved then."""
    mean = float(torch.stack(losses).mean())
    if not math.isfinite(mean):
        raise UserError(
            f"the loss became {mean} within the {len(losses)} steps up to {step}; checkpoints stay. "
            "Train under another --save_path with a smaller --lr or a longer --annealing_step"
        )
    return mean
