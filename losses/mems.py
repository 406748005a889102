"""Multiplicative Euclidean margin softmax (docs/method.md, Losses)."""

import math

from torch import Tensor

from losses import LOSSES
from losses.margin import MarginLoss, gather_target, replace_target

COLLAPSE_DISTANCE = 0.1  # mean squared distance between centres; at the start it is 2 center_norm^2


class MEMS(MarginLoss):
    """Logits -m_t^2 |f - c_y|^2 for the target and -|f - c_j|^2 for the others, m_t = 1 + (m - 1) alpha.

    From m = 2 + sqrt(3) on, features inside the decision boundaries are closer to all of their own class than
    to any other class; m = 1 is no margin. There is no scale, because the norm of a feature is not fixed.
    """

    facts = LOSSES["mems"]

    def logits(self, features: Tensor, labels: Tensor) -> Tensor:
        distances = squared_distances(features, self.centers)  # (B, C)
        margin = 1 + (self.margin - 1) * self.alpha
        return replace_target(-distances, labels, -(margin**2) * gather_target(distances, labels))

    def has_collapsed(self, loss: float) -> bool:
        """Whether features and centres have collapsed into one point, by the mean `loss` and the centres.

        A margin above 1 multiplies the distance of a feature to its own centre, and the quickest way to make
        all distances small is to bring all centres together. In one point all logits are 0 and the loss is
        ln C. Training does not recover: where centres are a mean squared distance d apart, no feature brings
        the loss far below ln C - d.
        """
        centers = self.centers.detach()
        mean_distance = 2 * float((centers - centers.mean(dim=0)).square().sum(1).mean())
        chance_loss = math.log(len(centers))
        is_at_chance = abs(loss - chance_loss) < 0.05 * chance_loss
        return self.margin > 1 and is_at_chance and mean_distance < COLLAPSE_DISTANCE


def squared_distances(features: Tensor, centers: Tensor) -> Tensor:
    """|f - c|^2 for all pairs: (B, D), (C, D) -> (B, C), without a (B, C, D) tensor.

    Features and centres are shifted by the mean centre first: |f|^2 + |c|^2 - 2 f.c cancels when they lie far
    from the origin. A shift changes no distance, so it needs no gradient.
    """
    origin = centers.detach().mean(dim=0)
    features, centers = features - origin, centers - origin
    return features.square().sum(1, keepdim=True) + centers.square().sum(1) - 2 * features @ centers.T
