"""CosFace: what it ignores, and its alias. Its formula: reliability/test_properties.py."""

import torch

from losses import loss_class
from losses.cosface import CosFace


def test_scaling_features_changes_nothing() -> None:
    criterion = CosFace(4, 6)
    features, labels = torch.randn(8, 6), torch.arange(8) % 4
    assert torch.allclose(criterion(features, labels), criterion(100 * features, labels), rtol=1e-5)


def test_lmcl_is_cosface_with_the_published_values() -> None:
    assert loss_class("lmcl") is CosFace
    assert (CosFace(2, 2).margin, CosFace(2, 2).scale) == (0.35, 32.0)
