"""--phase=train: the published recipe (docs/method.md, Training), continued from the newest checkpoint.

One step takes `batch_size` sketches and `batch_size` photos through one network, in one batch.
"""

import argparse
import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from datasets.workers import explain_dead_workers
from phases import test
from phases.train.monitor import LossMonitor, check_weights
from phases.train.start import build_trainer
from phases.train.trainer import Trainer
from run import results
from run.config import Config, config_from_options
from run.next_command import log_next_command
from run.plots import save_training_curves
from run.provenance import revision
from run.training_data import measure_familiarity
from utils import checkpoint_files, checkpoints, distributed
from utils.errors import Diverged, UserError
from utils.files import remove_stale_temporaries
from utils.locks import folder_lock
from utils.signals import catch_stop_signals
from utils.tracking import Scalars

log = logging.getLogger(__name__)

BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"  # fits 80 columns
SCALARS = ["loss", "lr", "alpha", "images_per_second"]  # columns of scalars.csv after the step


def run(options: argparse.Namespace) -> int:
    """Train up to --num_steps and test. Returns the exit status: not 0 when a signal stopped it."""
    config = config_from_options(options)
    exit_code = train_and_test(config)
    if exit_code == 0:
        log_next_command("train", config)
    return exit_code


def train_and_test(config: Config) -> int:
    """Train and test in every process that torchrun started, or in this one. Returns the exit status."""
    revision()  # look up and cache the commit now: files may change before the first checkpoint
    with distributed.process_group(), explain_dead_workers():
        return train_in_group(config)


def train_in_group(config: Config) -> int:
    """What `train_and_test` does once the processes are connected; the main one locks the run's folder."""
    with distributed.on_main_process(folder_lock(config.folder)):
        trainer = build_trainer(config)
        log.info("%s", trainer.describe())
        if distributed.rank() == 0:
            results.read_records(config.folder / "log" / "result.json")  # if broken, fail before training
            for name in ("model", "log", "vec"):
                remove_stale_temporaries(config.folder / name)
        if trainer.step < trainer.config.train.num_steps:
            exit_code = train(trainer)
            if exit_code:
                return exit_code
        test.evaluate_checkpoint(trainer.config.with_values(pretrained_model=trainer.step))
    return 0


def train(trainer: Trainer) -> int:
    """Train from `trainer.step` to --num_steps, with logs and checkpoints. Returns the exit status."""
    config = trainer.config
    num_steps = config.train.num_steps
    images_per_step = 2 * config.data.batch_size * distributed.world_size()
    first_step = trainer.step + 1
    exit_code = 0
    batches = trainer.batches()
    monitor = LossMonitor(trainer)
    progress = tqdm(
        total=num_steps,
        initial=trainer.step,
        desc="train",
        dynamic_ncols=True,
        bar_format=BAR,
        disable=distributed.rank() > 0,
    )
    with (
        logging_redirect_tqdm(),
        catch_stop_signals() as stop,
        open_scalars(trainer) as scalars,
        save_on_error(trainer, monitor),
        explain_dead_workers(),
        progress,
    ):
        since = time.monotonic()
        for sketches, photos in batches:
            loss = trainer.training_step(sketches, photos)
            monitor.add(loss, trainer.gradient_norm)
            progress.update()
            # A signal to one process stops all. In the first step some may compile longer than others.
            exit_code = distributed.all_reduce_max(stop.exit_code, long_wait=trainer.step == first_step)
            is_last = exit_code != 0 or trainer.step == num_steps
            is_saved = is_last or trainer.step % config.train.model_save_step == 0
            if is_saved or trainer.step % config.train.log_step == 0:
                now = time.monotonic()
                speed = images_per_step * len(monitor.losses) / (now - since)
                since = now
                mean_loss = monitor.check()
                lr, alpha = trainer.last_lr, trainer.alpha
                if scalars:
                    row = {"loss": mean_loss, "lr": lr, "alpha": alpha, "images_per_second": speed}
                    scalars.write(trainer.step, row)
                progress.set_postfix_str(f"loss {mean_loss:.3f}, lr {lr:.1e}, {speed:.0f} images/s")
            if is_saved:
                save(trainer)
            if is_last:
                break
    if distributed.rank() == 0:
        save_curves(trainer)
    if exit_code:
        log.info("stopped after step %d and saved; the same command continues", trainer.step)
    return exit_code


def open_scalars(trainer: Trainer) -> AbstractContextManager[Scalars | None]:
    """Scalars for scalars.csv and TensorBoard; None in all but the main process."""
    if distributed.rank():
        return nullcontext()
    return Scalars(trainer.config.folder / "log", SCALARS, start_step=trainer.step)


def save_curves(trainer: Trainer) -> None:
    folder, config = trainer.config.folder / "log", trainer.config
    save_training_curves(
        folder / "scalars.csv",
        folder / "curves.png",
        run=config.save_path,
        classes=trainer.data.num_train_classes,
        margin=config.loss.margin is not None,
    )


def save(trainer: Trainer) -> None:
    """Write a checkpoint, then remove older ones by --keep. Raises Diverged if a weight is not finite."""
    config = trainer.config
    folder = config.folder
    state = trainer.state_dict()  # gathers random states, so every process calls it
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
def save_on_error(trainer: Trainer, monitor: LossMonitor) -> Iterator[None]:
    """Save a checkpoint before a UserError (an unreadable image, say) ends the run, if its losses are finite.

    Not with several processes: others may be in the middle of the next step.
    """
    start = trainer.step
    try:
        yield
    except UserError as error:
        has_progress = trainer.step > start and distributed.world_size() == 1
        if has_progress and not isinstance(error, Diverged) and monitor.is_safe_to_save():
            save(trainer)
            log.info("saved after step %d", trainer.step)
        raise
