"""Watch the losses of a training: stop it when one is not finite, warn when it does not learn.

Reading a loss waits for the device, so the losses since the last row of the log are read at the next one.
"""

import logging
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from phases.train.batches import list_step_files
from phases.train.trainer import Trainer
from run.provenance import provenance
from utils import distributed
from utils.errors import Diverged
from utils.files import write_json

log = logging.getLogger(__name__)

NO_STEP = 2**62  # larger than any step
SMALLEST_SCALE = 2.0**-10  # of float16: gradients beyond 6e7 are no passing overflow
GOOD_CENTER_NORM = 3  # see docs/training.md
RECOVERED_LOSS = 0.8  # of ln C: a collapsed training does not get below it
REPORT = "not_finite.json"  # in a run's log folder


class LossMonitor:
    """Losses and gradient norms of the steps since the last check, scalars that are still on the device."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.losses: list[Tensor] = []
        self.norms: list[Tensor] = []
        self.last_loss: float | None = None  # of the last step that was checked
        self.had_whole_margin = self.has_whole_margin()  # at the last check
        self.has_collapsed = False

    def add(self, loss: Tensor, gradient_norm: Tensor) -> None:
        self.losses.append(loss)
        self.norms.append(gradient_norm)

    def check(self) -> float:
        """Check the steps since the last check, warn if they do not learn, and return their mean loss.

        The mean is over all processes. Raises Diverged, in all of them, if a loss or gradient is not finite.
        Under float16 a gradient may overflow: the scaler skips that step and lowers its scale.
        """
        losses, norms = self.read()
        self.check_finite(losses, norms)
        if self.trainer.scaler.is_enabled():
            self.check_scale(int((~norms.isfinite()).sum()))
        self.last_loss = losses[-1].item()
        self.losses.clear()
        self.norms.clear()
        mean = distributed.all_reduce_mean(losses.mean().item())
        self.warn_if_collapsed(mean)
        self.warn_if_above_guessing(mean)
        return mean

    def is_safe_to_save(self) -> bool:
        """Whether the trainer is between two steps, and all steps since the last check are finite."""
        if self.trainer.within_step:
            return False
        return not self.losses or bool(self.find_finite(*self.read()).all())

    def read(self) -> Tensor:
        """(2, steps) on the CPU: losses and norms, in one transfer from the device."""
        return torch.stack([torch.stack(self.losses), torch.stack(self.norms)]).cpu()

    def find_finite(self, losses: Tensor, norms: Tensor) -> Tensor:
        """(steps,) bool: which steps are finite. Under float16 the loss alone counts."""
        return losses.isfinite() & (norms.isfinite() | self.trainer.scaler.is_enabled())

    def check_finite(self, losses: Tensor, norms: Tensor) -> None:
        """Raise Diverged, in all processes, for the first step that is not finite in any of them."""
        first_step = self.trainer.step - len(losses) + 1
        bad = (~self.find_finite(losses, norms)).nonzero().flatten().tolist()
        own_step = first_step + bad[0] if bad else NO_STEP
        step = -distributed.all_reduce_max(-own_step)  # the smallest of all
        if step == NO_STEP:
            return
        index = step - first_step
        loss, norm = losses[index].item(), norms[index].item()
        last_loss = losses[index - 1].item() if index else self.last_loss
        path = self.trainer.config.folder / "log" / REPORT
        if distributed.rank() == 0:
            self.write_report(path, step, loss, norm, last_loss)
        cause = f"the gradient became {norm}" if math.isfinite(loss) else f"the loss became {loss}"
        after = "" if last_loss is None else f", after a loss of {last_loss:.4g}"
        raise Diverged(
            f"{cause} at step {step}{after}; the files of its batch are in {path}, earlier checkpoints are "
            f"kept. {self.suggest_remedies()}"
        )

    def write_report(self, path: Path, step: int, loss: float, norm: float, last_loss: float | None) -> None:
        """Write what is known of a step that is not finite, with the images of its batch, to `path`."""
        config = self.trainer.config
        record: dict[str, Any] = {
            "step": step,
            "loss": str(loss),  # JSON has no NaN
            "gradient_norm": str(norm),
            "last_finite_loss": last_loss,
            **list_step_files(config, self.trainer.data, step),
            **provenance(config),
        }
        write_json(path, record)

    def check_scale(self, skipped: int) -> None:
        """Log the steps that float16 skipped. Raises Diverged where a smaller scale does not help either."""
        if not skipped:
            return
        step, count, scale = self.trainer.step, len(self.losses), self.trainer.scaler.get_scale()
        log.info(
            "float16: %d of the %d steps up to %d were skipped because their gradients overflowed; the "
            "gradient scale is now %g",
            skipped,
            count,
            step,
            scale,
        )
        if scale < SMALLEST_SCALE:
            raise Diverged(
                f"gradients overflow float16 at every scale: {skipped} of the {count} steps up to {step} "
                f"were skipped; earlier checkpoints are kept. {self.suggest_remedies()}"
            )

    def suggest_remedies(self) -> str:
        config = self.trainer.config
        remedies = [f"a smaller --lr than {config.train.lr:g}"]
        if config.loss.margin is not None:
            remedies += ["a longer --annealing_step", "a smaller --margin"]
        if config.train.amp == "fp16":
            remedies = ["--amp=bf16 or off: float16 ends at 65504"]
        return "Train under another --save_path with " + ", or ".join(remedies)

    def has_whole_margin(self) -> bool:
        """Whether the next step applies the whole margin; true of a loss without one."""
        return self.trainer.config.loss.margin is None or self.trainer.alpha >= 1

    def warn_if_collapsed(self, loss: float) -> None:
        """Warn once when features and centres have fallen into one point, by the mean `loss`."""
        guessing = math.log(self.trainer.data.num_train_classes)
        if loss < RECOVERED_LOSS * guessing:
            self.has_collapsed = False
        elif not self.has_collapsed and self.trainer.criterion.has_collapsed(loss):
            self.has_collapsed = True
            config = self.trainer.config
            remedies = ""
            if config.loss.center_norm < GOOD_CENTER_NORM:
                remedies += f"centres further apart (--center_norm={GOOD_CENTER_NORM}), "
            if config.loss.annealing_step < config.train.num_steps:
                remedies += (
                    f"a margin that grows over all steps (--annealing_step={config.train.num_steps}), "
                )
            log.warning(
                "warning: the training has collapsed at step %d: features and centres are in one point, and "
                "the loss of %.3f is about ln C = %.3f, that of guessing a category. More steps will hardly "
                "help: stop it, and train under another --save_path with %sa smaller --margin or a smaller "
                "--lr",
                self.trainer.step,
                loss,
                guessing,
                remedies,
            )

    def warn_if_above_guessing(self, loss: float) -> None:
        """Warn of a mean `loss` above ln C, that of guessing: once the margin has grown, and at the end."""
        config, classes = self.trainer.config, self.trainer.data.num_train_classes
        if not self.has_whole_margin():
            return
        is_due = not self.had_whole_margin or self.trainer.step == config.train.num_steps
        self.had_whole_margin = True
        if not is_due or self.has_collapsed or loss <= math.log(classes):
            return
        if config.loss.margin is None:
            condition, remedies = "", "another --lr"
        else:
            condition = " with the whole margin"
            remedies = "a smaller --margin, a longer --annealing_step or another --lr"
        log.warning(
            "warning: at step %d the loss is %.3f%s, above ln %d = %.3f, that of guessing a category: "
            "train longer (--num_steps), or under another --save_path with %s",
            self.trainer.step,
            loss,
            condition,
            classes,
            math.log(classes),
            remedies,
        )


def check_weights(state: dict[str, Any]) -> None:
    """Raise Diverged, in all processes, if a tensor in the main one's `state` of a trainer is not finite."""
    name = distributed.broadcast_object(find_not_finite(state))
    if name:
        raise Diverged(
            f"after step {state['step']} not all weights are finite ({name}): they are not saved, earlier "
            "checkpoints are kept"
        )


def find_not_finite(state: dict[str, Any]) -> str | None:
    """The name of a weight or moment in the `state` of a trainer that is not finite, None if all are."""
    parts = {"network": state["network"], "loss": state["loss"]}
    for number, moments in state["optimizer"]["state"].items():
        parts[f"optimizer {number}"] = moments
    for part, values in parts.items():
        for name, value in values.items():
            if not is_finite(value):
                return f"{part} {name}"
    return None


def is_finite(value: Any) -> bool:
    """Whether no number in a tensor is infinite or NaN; true of anything else."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return True
    return math.isfinite(
        value.sum(dtype=torch.float64)
    )  # a sum is quick, and not finite if one number is not
