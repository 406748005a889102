"""CosFace, the large margin cosine loss (Wang et al., CVPR 2018, equation 4; docs/method.md, Losses)."""

from torch import Tensor

from losses import LOSSES
from losses.margin import MarginLoss, gather_target, replace_target


class CosFace(MarginLoss):
    """Logits s (cos_y - alpha m) for the target and s cos_j for the others; m >= 0, s > 0."""

    facts = LOSSES["cosface"]

    def logits(self, features: Tensor, labels: Tensor) -> Tensor:
        cosines = self.cosines(features)
        target = gather_target(cosines, labels) - self.alpha * self.margin
        return self.scale * replace_target(cosines, labels, target)
