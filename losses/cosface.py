"""CosFace, the large margin cosine loss (Wang et al., CVPR 2018, equation 4; docs/method.md, Losses)."""

from torch import Tensor

from losses.margin import MarginLoss, of_target, replace_target


class CosFace(MarginLoss):
    """Logits s (cos_y - alpha m) for the target and s cos_j for the others; m >= 0, s > 0."""

    default_margin = 0.35
    default_scale = 32.0
    margin_range = (0.0, 1.0)
    distance = "angular"

    def logits(self, features: Tensor, labels: Tensor) -> Tensor:
        cosines = self.cosines(features)
        target = of_target(cosines, labels) - self.alpha * self.margin
        return self.scale * replace_target(cosines, labels, target)
