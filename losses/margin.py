"""The base of all losses: class centres, margin annealing, cross-entropy (docs/method.md, Losses)."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from losses import LossFacts


class MarginLoss(nn.Module):
    """Cross-entropy over the logits of `num_classes` centres, with a margin for the target class.

    A loss defines `logits`, and names its `facts` from losses.LOSSES, which give margin and scale their
    defaults.

    State: `centers` (num_classes, f_dim), drawn as Gaussian directions of norm `center_norm` (published: 1),
    and `step`, the number of training steps done, which the training loop counts up.
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
        """How much of the margin applies now: step / annealing_step, at most 1. A float32 scalar."""
        if self.annealing_step == 0:
            return torch.ones((), device=self.step.device)
        return (self.step / self.annealing_step).clamp(max=1.0)

    def logits(self, features: Tensor, labels: Tensor) -> Tensor:
        """(B, f_dim) float32, (B,) int64 -> (B, num_classes): the larger, the nearer the class."""
        raise NotImplementedError

    def forward(self, features: Tensor, labels: Tensor, reduction: str = "mean") -> Tensor:
        """(B, f_dim), (B,) int64 -> the loss, a scalar, or (B,) with reduction="none".

        Computed in float32 whatever the features come in: a margin of 4 multiplies squared distances by 16.
        """
        return F.cross_entropy(self.logits(features.float(), labels), labels, reduction=reduction)

    def has_collapsed(self, loss: float) -> bool:
        """Whether features and centres have fallen into one point, by a mean `loss`; see MEMS."""
        return False

    def cosines(self, features: Tensor) -> Tensor:
        """cos of the angle between features and centres, (B, num_classes) in [-1, 1]."""
        return F.normalize(features) @ F.normalize(self.centers).T


def replace_target(logits: Tensor, labels: Tensor, target_logits: Tensor) -> Tensor:
    """`logits` (B, C) with the entry of each row's label replaced by `target_logits` (B,)."""
    return logits.scatter(1, labels[:, None], target_logits[:, None])


def of_target(logits: Tensor, labels: Tensor) -> Tensor:
    """The entry of each row's label: (B, C), (B,) -> (B,)."""
    return logits.gather(1, labels[:, None]).squeeze(1)
