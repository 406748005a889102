"""Build the trainer of a run: a new one, or the one that its newest checkpoint holds."""

import logging
from pathlib import Path
from typing import Any

from models.weights import load_pretrained
from phases.train.trainer import Trainer, lr_factor
from run import validation
from run.checkpoint import check_lists
from run.config import (
    CONTINUED_FIELDS,
    Config,
    check_speed,
    default_folders_from_checkpoint,
    default_from_checkpoint,
    require_same_as_checkpoint,
    resolve_training,
)
from run.lists import load_lists
from utils import checkpoint_files, distributed
from utils.errors import UserError
from utils.hardware import describe_machine, get_machine_info

log = logging.getLogger(__name__)


def build_trainer(config: Config) -> Trainer:
    """The trainer of the newest checkpoint in the run's folder; of a new run if there is none."""
    models = config.folder / "model"
    steps = distributed.broadcast_object(checkpoint_files.saved_steps(models))
    if steps:
        return resume(config, checkpoint_files.checkpoint_path(models, steps[-1]))
    refuse_published(models)
    return start_new(config)


def refuse_published(models: Path) -> None:
    """Raise UserError if the folder has checkpoints of the published program: they cannot be continued."""
    pairs = checkpoint_files.saved_pairs(models)
    if not pairs:
        return
    networks = [pair.network for pair in pairs.values() if pair.network]
    start = f", starting from these weights with --backbone_weights={networks[-1]}" if networks else ""
    raise UserError(
        f"{models} holds only checkpoints of the published program (step {', '.join(map(str, pairs))}), "
        "which cannot be continued: they have no optimizer state. Test them with --phase=test, or train "
        f"under another --save_path{start}"
    )


def start_new(config: Config) -> Trainer:
    """The trainer of a new run, with the weights of --backbone_weights."""
    config = resolve_training(config)
    trainer = Trainer(config, load_lists(config))
    weights = config.train.backbone_weights
    if weights != "none" and distributed.rank() == 0:  # DDP copies them to the other processes
        report = load_pretrained(
            trainer.network, config.network.network, weights, pad_se=config.train.pad_pretrained_se
        )
        log.info("weights of %s: %s", weights, report)
    return trainer


def resume(config: Config, path: Path) -> Trainer:
    """The trainer in the state of the checkpoint at `path`. Raises UserError if `config` does not fit it."""
    state = validation.read_checkpoint(path)
    stored = state["options"]
    trained_for = stored["num_steps"]
    is_lengthened = "num_steps" in config.given and config.train.num_steps > trained_for
    config = fit_to_checkpoint(config, stored, path, is_lengthened=is_lengthened)
    check_speed(config)
    validation.check_network(config, state["network"], path)
    excluded = state["left_out"]
    data = load_lists(config, excluded)
    check_lists(data, state["lists"], path)
    if len(data.excluded) > len(excluded):
        log.warning("warning: these images were trained on before; without them the run is not the same")
    trainer = Trainer(config, data)
    with validation.report_resume_errors(path):
        validation.check_training_state(state, trainer.optimizer, trainer.schedule)
        trainer.load_state_dict(state, path)
    log.info("continuing after step %d of %s", trainer.step, path)
    report_other_hardware(state["machine"], get_machine_info(str(trainer.device)))
    if is_lengthened:
        report_lengthening(trainer, trained_for)
    return trainer


def fit_to_checkpoint(config: Config, stored: dict[str, Any], path: Path, *, is_lengthened: bool) -> Config:
    """`config` completed by the options `stored` in the checkpoint at `path`.

    A larger --num_steps than the stored one lengthens the training. Raises UserError if another option that
    the training depends on was given with another value.
    """
    names: tuple[str, ...] = CONTINUED_FIELDS
    lengthened = stored["lengthened"]
    if is_lengthened:
        names = tuple(name for name in names if name != "num_steps")
        lengthened = [*lengthened, stored["num_steps"]]
    config = require_same_as_checkpoint(config, stored, names, path)
    config = config.with_values(lengthened=lengthened)
    config = default_from_checkpoint(config, stored, ("threads",))
    return default_folders_from_checkpoint(config, stored)


def report_other_hardware(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Log if the training continues on other hardware, where sums are rounded differently.

    `before` is empty if the checkpoint does not state its hardware.
    """
    if not before:
        return
    # with a GPU the processor makes no difference
    is_same = before.get("GPU") == now["GPU"] if "GPU" in now else before == now
    if not is_same:
        log.info(
            "trained on %s so far, continues on %s: the weights will differ in their last bits from those of "
            "an unbroken run",
            describe_machine(before),
            describe_machine(now),
        )


def report_lengthening(trainer: Trainer, trained_for: int) -> None:
    """Log what it means for the weights that the run was first meant to have `trained_for` steps."""
    num_steps = trainer.config.train.num_steps
    before, after = (lr_factor(trainer.step, length) for length in (trained_for, num_steps))
    if before == after:
        effect = "the learning rate has not fallen yet: the weights will be those of an unbroken run"
    else:
        effect = (
            f"the learning rate had fallen to {before:.3g} of --lr and continues at {after:.3g}, as in an "
            "unbroken run of that length, but the weights will differ from its"
        )
    log.info("lengthened from %d to %d steps: %s", trained_for, num_steps, effect)
