"""Multiplicative Euclidean margin softmax (docs/method.md, Losses)."""

from torch import Tensor

from losses.margin import MarginLoss, of_target, replace_target


class MEMS(MarginLoss):
    """Logits -m_t^2 |f - c_y|^2 for the target and -|f - c_j|^2 for the others, m_t = 1 + (m - 1) alpha.

    From m >= 2 + sqrt(3) on, the decision boundaries keep every class closer together than it is to any
    other; m = 1 is no margin. There is no scale: the feature's norm is free.
    """

    default_margin = 4.0
    margin_range = (1.0, float("inf"))

    def logits(self, features: Tensor, labels: Tensor) -> Tensor:
        distances = squared_distances(features, self.centers)  # (B, C)
        margin = 1 + (self.margin - 1) * self.alpha
        return replace_target(-distances, labels, -(margin**2) * of_target(distances, labels))


def squared_distances(features: Tensor, centers: Tensor) -> Tensor:
    """|f - c|^2 for all pairs: (B, D), (C, D) -> (B, C), without a (B, C, D) tensor.

    Both sides are shifted by the mean centre first: |f|^2 + |c|^2 - 2 f.c cancels when they lie far from
    the origin. A shift changes no distance, so it needs no gradient.
    """
    origin = centers.detach().mean(dim=0)
    features, centers = features - origin, centers - origin
    return features.square().sum(1, keepdim=True) + centers.square().sum(1) - 2 * features @ centers.T
