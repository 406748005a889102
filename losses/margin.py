"""The base class of all losses: class centres, margin annealing, cross-entropy (docs/method.md, Losses)."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from losses import LossFacts


class MarginLoss(nn.Module):
    """Cross-entropy over the logits of `num_classes` classes, with a margin for the target class.

    A subclass defines `logits` and sets `facts` to its entry of losses.LOSSES, which has the defaults of
    `margin` and `scale`.

    State: `centers` (num_classes, f_dim) float32, which start in random directions with norm `center_norm`
    (published: 1), and `step`, an int64 scalar, the number of training steps done, which the training loop
    increments.
    """

    facts: ClassVar[LossFacts]

    step: Tensor

    def __init__(
        self,
        num_classes: int,
        f_dim: int,
        *,
        margin: float | None = None,
        scale: float | None = None,
        annealing_step: int = 0,
        center_norm: float = 1.0,
    ) -> None:
        super().__init__()
        self.margin: float = (self.facts.default_margin or 0.0) if margin is None else margin
        self.scale: float = (self.facts.default_scale or 1.0) if scale is None else scale
        self.annealing_step = annealing_step
        self.centers = nn.Parameter(center_norm * F.normalize(torch.randn(num_classes, f_dim)))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    @property
    def alpha(self) -> Tensor:
        """The fraction of the margin that applies now: step / annealing_step, at most 1. A float32 scalar."""
        if self.annealing_step == 0:
            return torch.ones((), device=self.step.device)
        return (self.step / self.annealing_step).clamp(max=1.0)

    def logits(self, features: Tensor, labels: Tensor) -> Tensor:
        """(B, f_dim) float32, (B,) int64 -> (B, num_classes) float32, larger for nearer classes."""
        raise NotImplementedError

    def forward(self, features: Tensor, labels: Tensor, reduction: str = "mean") -> Tensor:
        """(B, f_dim), (B,) int64 -> the loss, a float32 scalar, or (B,) with reduction="none".

        Computed in float32 for features of any dtype: a margin of 4 multiplies squared distances by 16.
        """
        return F.cross_entropy(self.logits(features.float(), labels), labels, reduction=reduction)

    def has_collapsed(self, loss: float) -> bool:
        """Whether features and centres have collapsed into one point, by the mean `loss`; see MEMS."""
        return False

    def cosines(self, features: Tensor) -> Tensor:
        """Cosines of the angles between features (B, f_dim) and centres, (B, num_classes) in [-1, 1]."""
        return F.normalize(features) @ F.normalize(self.centers).T


def replace_target(logits: Tensor, labels: Tensor, target_logits: Tensor) -> Tensor:
    """`logits` (B, C) with the logit of each row's label (B,) replaced by `target_logits` (B,)."""
    return logits.scatter(1, labels[:, None], target_logits[:, None])


def gather_target(logits: Tensor, labels: Tensor) -> Tensor:
    """The logit of each row's label: (B, C), (B,) -> (B,)."""
    return logits.gather(1, labels[:, None]).squeeze(1)
