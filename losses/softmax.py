"""Softmax over a linear classifier, the baseline of the other losses (docs/method.md, Losses)."""

from torch import Tensor

from losses import LOSSES
from losses.margin import MarginLoss


class Softmax(MarginLoss):
    """Logits f . c_j: a linear classifier whose weights are the centres.

    Without a bias, so that the state is the centres alone, as in every other loss. Logits are inner products:
    directions matter, not distances.
    """

    facts = LOSSES["softmax"]

    def logits(self, features: Tensor, labels: Tensor) -> Tensor:
        return features @ self.centers.T
