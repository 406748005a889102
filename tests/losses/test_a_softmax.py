"""A-Softmax against a derivation by Chebyshev polynomials, and the shape of psi."""

import math

import numpy as np
import torch

from losses.a_softmax import ASoftmax


def psi_by_chebyshev(cosine: float) -> float:
    """(-1)^k cos(4 theta) - 2k with cos(4 theta) = 8 cos^4 - 8 cos^2 + 1 and k by comparing cosines."""
    k = sum(cosine <= math.cos(i * math.pi / 4) for i in range(1, 5))
    return (-1) ** k * (8 * cosine**4 - 8 * cosine**2 + 1) - 2 * k


def test_equals_the_chebyshev_form() -> None:
    rng = np.random.default_rng(0)
    features, labels = rng.standard_normal((40, 3)), rng.integers(0, 4, 40)
    criterion = ASoftmax(4, 3, margin=4)
    centers = criterion.centers.detach().double().numpy()
    losses = []
    for feature, label in zip(features, labels, strict=True):
        norm = np.linalg.norm(feature)
        cosines = np.array([feature @ c / norm / np.linalg.norm(c) for c in centers])
        logits = norm * cosines
        logits[label] = norm * psi_by_chebyshev(cosines[label])
        losses.append(np.log(np.exp(logits).sum()) - logits[label])
    found = criterion(torch.tensor(features), torch.tensor(labels), reduction="none").detach().numpy()
    np.testing.assert_allclose(found, losses, rtol=1e-4, atol=1e-5)


def test_psi_falls_with_the_angle() -> None:
    theta = torch.linspace(0.01, math.pi - 0.01, 400)
    features = torch.stack([theta.cos(), theta.sin()], dim=1)
    criterion = ASoftmax(2, 2, margin=4)
    criterion.centers.data = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    psi = criterion.logits(features, torch.zeros(400, dtype=torch.int64))[:, 0].detach()
    assert (psi.diff() < 1e-5).all()
    assert psi[0] > 0.99 and psi[-1] < -6.9
