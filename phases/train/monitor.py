"""A training that diverges is found at the next row of the log: no step waits for the device."""

import logging
import math
from typing import Any

import torch
from torch import Tensor

from phases.train.batches import files_of_step
from phases.train.trainer import Trainer
from run.provenance import provenance
from utils import distributed
from utils.errors import Diverged
from utils.files import write_json

log = logging.getLogger(__name__)

NEVER = 2**62
COLLAPSED = 2.0**-10  # a scale: gradients beyond 6e7 are no passing overflow
ESCAPED = 0.8  # of ln C: a loss that no collapsed training has
REPORT = "not_finite.json"  # in a run's log folder


class LossMonitor:
    """Loss and norm of the gradient of each step since the last row of the log, still on the device."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.losses: list[Tensor] = []
        self.norms: list[Tensor] = []
        self.last_finite: float | None = None
        self.margin_had_grown = self.has_margin_grown()
        self.had_collapsed = False

    def step(self, batches: tuple) -> None:
        """One training step on a batch of each domain."""
        self.losses.append(self.trainer.training_step(*batches))
        self.norms.append(self.trainer.gradient_norm)

    def row(self) -> float:
        """The mean loss of the steps since the last row, of all processes. Raises Diverged: nothing is saved.

        With float16 a gradient may overflow: that step is left out, and the next is scaled less.
        """
        losses, norms = self.read()
        bad = (~self.sound(losses, norms)).nonzero().flatten().tolist()
        first = self.trainer.step - len(losses) + 1
        step = -distributed.all_reduce_max(-(first + bad[0] if bad else NEVER))
        if step != NEVER:
            raise self.diverged(
                step, losses[step - first].item(), norms[step - first].item(), losses[: step - first]
            )
        if self.trainer.scaler.is_enabled():
            self.check_scale(int((~norms.isfinite()).sum()))
        self.last_finite = losses[-1].item()
        self.losses.clear()
        self.norms.clear()
        mean = distributed.all_reduce_mean(losses.mean().item())
        collapsed = self.warn_of_collapse(mean)
        self.compare_with_guessing(mean, quiet=collapsed)
        return mean

    def has_margin_grown(self) -> bool:
        """Whether the next step applies the whole margin; true of a loss without one."""
        return self.trainer.config.loss.margin is None or self.trainer.alpha >= 1

    def warn_of_collapse(self, loss: float) -> bool:
        """Whether features and centres have fallen into one point; says so when that happens."""
        config, guessing = self.trainer.config, math.log(self.trainer.data.num_train_classes)
        if loss < ESCAPED * guessing:
            self.had_collapsed = False
        elif not self.had_collapsed and self.trainer.criterion.has_collapsed(loss):
            self.had_collapsed = True
            log.warning(
                "warning: the training has collapsed at step %d: features and centres are in one point, and "
                "the loss of %.3f is about ln C = %.3f, that of guessing a category. More steps will hardly "
                "help: stop it, and train under another --save_path with centres further apart "
                "(--center_norm=3), a margin that grows over all steps (--annealing_step=%d), a smaller "
                "--margin or a smaller --lr",
                self.trainer.step,
                loss,
                guessing,
                config.train.num_steps,
            )
        return self.had_collapsed

    def compare_with_guessing(self, loss: float, *, quiet: bool = False) -> None:
        """Warn of a `loss` above ln C, that of guessing, once the margin has grown and at the end.

        `quiet`: the reason has been said.
        """
        config, classes = self.trainer.config, self.trainer.data.num_train_classes
        if not self.has_margin_grown():
            return
        due = not self.margin_had_grown or self.trainer.step == config.train.num_steps
        self.margin_had_grown = True
        if quiet or not due or loss <= math.log(classes):
            return
        if config.loss.margin is None:
            where, remedies = "", "another --lr"
        else:
            where = " with the whole margin"
            remedies = "a smaller --margin, a longer --annealing_step or another --lr"
        log.warning(
            "warning: at step %d the loss is %.3f%s, above ln %d = %.3f, that of guessing a category: "
            "train longer (--num_steps), or under another --save_path with %s",
            self.trainer.step,
            loss,
            where,
            classes,
            math.log(classes),
            remedies,
        )

    def good(self) -> bool:
        """Whether the trainer is between two steps, and nothing was wrong since the last row."""
        if self.trainer.within_step:
            return False
        return not self.losses or bool(self.sound(*self.read()).all())

    def read(self) -> Tensor:
        """(2, steps) on the CPU: losses and norms, in one exchange with the device."""
        return torch.stack([torch.stack(self.losses), torch.stack(self.norms)]).cpu()

    def sound(self, losses: Tensor, norms: Tensor) -> Tensor:
        return losses.isfinite() & (norms.isfinite() | self.trainer.scaler.is_enabled())

    def check_scale(self, skipped: int) -> None:
        """Say how many steps float16 left out. Raises Diverged where a smaller scale does not help either."""
        if not skipped:
            return
        step, scale = self.trainer.step, self.trainer.scaler.get_scale()
        log.info(
            "float16: %d of the %d steps up to %d were left out: their gradients overflowed; the next are "
            "scaled by %g",
            skipped,
            len(self.losses),
            step,
            scale,
        )
        if scale < COLLAPSED:
            raise Diverged(
                f"gradients overflow float16 at every scale: {skipped} of the {len(self.losses)} steps up to "
                f"{step} were left out; checkpoints stay. {self.advice()}"
            )

    def diverged(self, step: int, loss: float, norm: float, before: Tensor) -> Diverged:
        """What to say of `step`, whose batch is written down; `before`: losses since the last row."""
        last = before[-1].item() if len(before) else self.last_finite
        what = f"the gradient became {norm}" if math.isfinite(loss) else f"the loss became {loss}"
        path = self.trainer.config.folder / "log" / REPORT
        if distributed.rank() == 0:
            figures = {"loss": str(loss), "gradient_norm": str(norm), "last_finite_loss": last}
            files = files_of_step(self.trainer.config, self.trainer.data, step)
            write_json(path, {"step": step, **figures, **files, **provenance(self.trainer.config)})
        after = "" if last is None else f", after a loss of {last:.4g}"
        return Diverged(
            f"{what} at step {step}{after}; the files of its batch are in {path}, checkpoints stay. "
            + self.advice()
        )

    def advice(self) -> str:
        config = self.trainer.config
        remedies = [f"a smaller --lr than {config.train.lr:g}"]
        if config.loss.margin is not None:
            remedies += ["a longer --annealing_step", "a smaller --margin"]
        if config.train.amp == "fp16":
            remedies = ["--amp=bf16 or off: float16 ends at 65504"]
        return "Train under another --save_path with " + ", or ".join(remedies)


def check_weights(state: dict[str, Any]) -> None:
    """Raise Diverged, on all processes, if a number of the `state` of a trainer is not finite."""
    moments = {f"optimizer {number}": each for number, each in state["optimizer"]["state"].items()}
    parts = {"network": state["network"], "loss": state["loss"], **moments}
    tensors = ((part, name, value) for part, values in parts.items() for name, value in values.items())
    bad = next((f"{part} {name}" for part, name, value in tensors if not is_finite(value)), None)
    found = distributed.broadcast_object(bad)
    if found:
        raise Diverged(
            f"after step {state['step']} not all weights are finite ({found}): they are not saved, "
            "checkpoints stay"
        )


def is_finite(value: Any) -> bool:
    """Whether no number in a tensor is infinite or NaN; true of anything else."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return True
    return math.isfinite(value.sum(dtype=torch.float64))  # a sum is quick, and shows them
