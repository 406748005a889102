"""Multiplicative Euclidean margin softmax (docs/method.md, Losses)."""

import math

from torch import Tensor

from losses import LOSSES
from losses.margin import MarginLoss, of_target, replace_target

COLLAPSED = 0.1  # mean squared distance between centres; at their start it is twice the square of their norm


class MEMS(MarginLoss):
    """Logits -m_t^2 |f - c_y|^2 for the target and -|f - c_j|^2 for the others, m_t = 1 + (m - 1) alpha.

    From m >= 2 + sqrt(3) on, the decision boundaries keep every class closer together than it is to any
    other; m = 1 is no margin. There is no scale: the feature's norm is free.
    """

    facts = LOSSES["mems"]

    def logits(self, features: Tensor, labels: Tensor) -> Tensor:
        distances = squared_distances(features, self.centers)  # (B, C)
        margin = 1 + (self.margin - 1) * self.alpha
        return replace_target(-distances, labels, -(margin**2) * of_target(distances, labels))

    def has_collapsed(self, loss: float) -> bool:
        """Whether features and centres have fallen into one point, by a mean `loss` and the centres.

        While a feature is off its centre, a margin above 1 is paid for with its distance to the target, and
        to bring all centres together is the quickest way to make all distances small. In one point all
        logits are 0, and the loss is ln C. It cannot leave: where centres are a mean squared distance d
        apart, no feature brings the loss far below ln C - d.
        """
        centers = self.centers.detach()
        mean_distance = 2 * float((centers - centers.mean(dim=0)).square().sum(1).mean())
        guessing = math.log(len(centers))
        return self.margin > 1 and abs(loss - guessing) < 0.05 * guessing and mean_distance < COLLAPSED


def squared_distances(features: Tensor, centers: Tensor) -> Tensor:
    """|f - c|^2 for all pairs: (B, D), (C, D) -> (B, C), without a (B, C, D) tensor.

    Both sides are shifted by the mean centre first: |f|^2 + |c|^2 - 2 f.c cancels when they lie far from
    the origin. A shift changes no distance, so it needs no gradient.
    """
    origin = centers.detach().mean(dim=0)
    features, centers = features - origin, centers - origin
    return features.square().sum(1, keepdim=True) + centers.square().sum(1) - 2 * features @ centers.T
