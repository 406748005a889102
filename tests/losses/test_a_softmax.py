"""The shape of psi. The formula of A-Softmax: reliability/test_properties.py."""

import math

import torch

from losses.a_softmax import ASoftmax


def test_psi_falls_with_the_angle() -> None:
    theta = torch.linspace(0.01, math.pi - 0.01, 400)
    features = torch.stack([theta.cos(), theta.sin()], dim=1)
    criterion = ASoftmax(2, 2, margin=4)
    criterion.centers.data = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    psi = criterion.logits(features, torch.zeros(400, dtype=torch.int64))[:, 0].detach()
    assert (psi.diff() < 1e-5).all()
    assert psi[0] > 0.99 and psi[-1] < -6.9
