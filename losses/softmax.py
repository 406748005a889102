"""Softmax over a linear classifier, the baseline for the other losses (docs/method.md, Losses)."""

from torch import Tensor

from losses import LOSSES
from losses.margin import MarginLoss


class Softmax(MarginLoss):
    """Logits f . c_j: a linear classifier whose weights are the centres.

    There is no bias, so that the state is the same as of every other loss. Logits are inner products, so
    directions matter rather than distances.
    """

    facts = LOSSES["softmax"]

    def logits(self, features: Tensor, labels: Tensor) -> Tensor:
        return features @ self.centers.T
