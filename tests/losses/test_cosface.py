"""CosFace against equation 4 of its paper in float64, and its alias."""

import numpy as np
import torch

from losses import loss_class
from losses.cosface import CosFace


def test_equals_the_formula() -> None:
    rng = np.random.default_rng(0)
    features, labels = rng.standard_normal((8, 6)), rng.integers(0, 4, 8)
    criterion = CosFace(4, 6, margin=0.35, scale=32)
    centers = criterion.centers.detach().double().numpy()
    losses = []
    for feature, label in zip(features, labels, strict=True):
        cosines = [feature @ c / np.linalg.norm(feature) / np.linalg.norm(c) for c in centers]
        positive = np.exp(32 * (cosines[label] - 0.35))
        others = sum(np.exp(32 * cosine) for j, cosine in enumerate(cosines) if j != label)
        losses.append(-np.log(positive / (positive + others)))
    found = criterion(torch.tensor(features), torch.tensor(labels), reduction="none").detach().numpy()
    np.testing.assert_allclose(found, losses, rtol=1e-4, atol=1e-5)


def test_scaling_features_changes_nothing() -> None:
    criterion = CosFace(4, 6)
    features, labels = torch.randn(8, 6), torch.arange(8) % 4
    assert torch.allclose(criterion(features, labels), criterion(100 * features, labels), rtol=1e-5)


def test_lmcl_is_cosface_with_the_papers_values() -> None:
    assert loss_class("lmcl") is CosFace
    assert (CosFace(2, 2).margin, CosFace(2, 2).scale) == (0.35, 32.0)
