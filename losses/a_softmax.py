"""A-Softmax of SphereFace (Liu et al., CVPR 2017, equation 7; docs/method.md, Losses)."""

import math

import torch
from torch import Tensor

from losses import LOSSES
from losses.margin import MarginLoss, gather_target, replace_target

# the gradient of acos is infinite at +-1; float32 resolves 6e-8 there
EPSILON = 1e-7


class ASoftmax(MarginLoss):
    """Logits |f| ((1 - alpha) cos_y + alpha psi(theta_y)) for the target and |f| cos_j for the others.

    psi(theta) = (-1)^k cos(m theta) - 2k with k = floor(m theta / pi), which falls from 1 to about -2m + 1.
    """

    facts = LOSSES["a-softmax"]

    def logits(self, features: Tensor, labels: Tensor) -> Tensor:
        cosines = self.cosines(features)  # (B, C)
        target = gather_target(cosines, labels)
        theta = torch.acos(target.clamp(-1 + EPSILON, 1 - EPSILON))
        k = torch.floor(self.margin * theta / math.pi).detach()
        psi = (1 - 2 * (k % 2)) * torch.cos(self.margin * theta) - 2 * k
        target = (1 - self.alpha) * target + self.alpha * psi
        return features.norm(dim=1, keepdim=True) * replace_target(cosines, labels, target)
