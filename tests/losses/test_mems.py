"""MEMS against its formula, written out pair by pair in float64."""

import numpy as np
import pytest
import torch

from losses.mems import MEMS, squared_distances


def naive(features: np.ndarray, centers: np.ndarray, labels: np.ndarray, margin: float) -> np.ndarray:
    losses = []
    for feature, label in zip(features.astype(float), labels, strict=True):
        logits = np.array([-((feature - center) ** 2).sum() for center in centers.astype(float)])
        logits[label] *= margin**2
        losses.append(np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[label])
    return np.array(losses)


@pytest.mark.parametrize("margin", [1.0, 2.0, 3.74, 5.0])
def test_equals_the_formula(margin: float) -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((8, 6), dtype=np.float32)
    labels = rng.integers(0, 4, 8)
    criterion = MEMS(4, 6, margin=margin)
    found = criterion(torch.tensor(features), torch.tensor(labels), reduction="none").detach().numpy()
    expected = naive(features, criterion.centers.detach().numpy(), labels, margin)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_a_margin_of_one_is_softmax_over_distances() -> None:
    criterion = MEMS(4, 6, margin=1.0)
    features, labels = torch.randn(8, 6), torch.arange(8) % 4
    logits = -torch.cdist(features.double(), criterion.centers.double()).square()
    expected = torch.nn.functional.cross_entropy(logits, labels)
    assert criterion(features, labels).item() == pytest.approx(expected.item(), rel=1e-5)


def test_distances_far_from_the_origin_do_not_cancel() -> None:
    rng = np.random.default_rng(0)
    features, centers = (rng.standard_normal((n, 64)) + 300 for n in (10, 5))
    exact = ((features[:, None] - centers[None]) ** 2).sum(-1)
    found = squared_distances(*(torch.tensor(each, dtype=torch.float32) for each in (features, centers)))
    np.testing.assert_allclose(found.numpy(), exact, rtol=1e-4)


def test_the_boundary_keeps_classes_apart_from_two_plus_root_three() -> None:
    """On the line through two centres at distance 1, the class region ends where m d_y = d_j."""
    for margin, separated in ((3.7, False), (2 + 3**0.5 + 1e-6, True)):
        inside = 1 / (margin + 1), 1 / (margin - 1)  # ends of the region on both sides of its centre
        largest_intra = sum(inside)
        smallest_inter = 1 - 2 / (margin + 1)
        assert largest_intra == pytest.approx(2 * margin / (margin**2 - 1))
        assert smallest_inter == pytest.approx((margin - 1) / (margin + 1))
        assert (largest_intra < smallest_inter) == separated
        criterion = MEMS(2, 1, margin=margin)
        criterion.centers.data = torch.tensor([[0.0], [1.0]])
        edge = torch.tensor([[inside[0]]])
        logits = criterion.logits(edge, torch.tensor([0]))
        assert logits[0, 0].item() == pytest.approx(logits[0, 1].item(), rel=1e-4)
