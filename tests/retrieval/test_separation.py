"""Distances inside and between categories, against loops; the margin's bound, against points in space."""

import numpy as np
import pytest

from retrieval import separation
from retrieval.separation import (
    MARGIN_NEEDED,
    implied_separation,
    measure_separation,
    nearest_center_distances,
    percent_inside_boundaries,
)


def naive(features: np.ndarray, labels: np.ndarray, classes: int) -> tuple[list[float], list[float]]:
    intra, inter = [float("nan")] * classes, [float("nan")] * classes
    for label in set(labels.tolist()):
        own, other = features[labels == label], features[labels != label]
        intra[label] = max(float(np.linalg.norm(a - b)) for a in own for b in own)
        inter[label] = min((float(np.linalg.norm(a - b)) for a in own for b in other), default=float("inf"))
    return intra, inter


@pytest.mark.parametrize("block", [3, 7, 1000])
def test_equals_a_loop_over_all_pairs(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(separation, "BLOCK", block)
    rng = np.random.default_rng(0)
    features = (100 + rng.standard_normal((40, 5))).astype(np.float32)
    labels = rng.integers(0, 6, 40)
    labels[labels == 2] = 3  # a category without features
    labels[0] = 6  # and one with a single one
    labels[1:][labels[1:] == 6] = 0
    found = measure_separation(features, labels, 7, "cpu")
    intra, inter = naive(features.astype(float), labels, 7)
    assert np.allclose(found.max_intra, intra, atol=1e-6, equal_nan=True)
    assert np.allclose(found.min_inter, inter, atol=1e-6, equal_nan=True)
    assert np.isnan(found.max_intra[2]) and found.max_intra[6] == 0


def test_the_share_counts_categories_that_have_features() -> None:
    points = np.array([[0.0], [1.0], [10.0], [30.0]])
    found = measure_separation(points, np.array([0, 0, 1, 1]), 3, "cpu")
    assert found.max_intra[:2].tolist() == [1, 20] and found.min_inter[:2].tolist() == [9, 9]
    assert found.percent_separated == 50
    assert measure_separation(points, np.zeros(4, dtype=int), 1, "cpu").min_inter[0] == np.inf


@pytest.mark.parametrize("margin", [1.5, 2.0, 3.7, 3.74, 5.0])
def test_what_a_margin_implies_is_what_points_inside_the_boundary_do(margin: float) -> None:
    """Between two centres: the farthest pair inside one boundary, the nearest pair across both."""
    centers = np.array([[0.0, 0.0], [3.0, 0.0]])
    axis = np.linspace(-20, 20, 400_001)  # by symmetry the extremes lie on the line through both centres
    inside = [axis[margin * np.abs(axis - c) < np.abs(axis - o)] for c, o in ((0.0, 3.0), (3.0, 0.0))]
    found = implied_separation(centers, margin)
    assert found.max_intra == pytest.approx([np.ptp(inside[0])] * 2, abs=1e-3)
    assert found.min_inter == pytest.approx([inside[1].min() - inside[0].max()] * 2, abs=1e-3)
    assert (found.percent_separated == 100) == (margin > MARGIN_NEEDED)


def test_no_margin_bounds_nothing() -> None:
    found = implied_separation(np.eye(3), 1.0)
    assert np.isinf(found.max_intra).all() and (found.min_inter == 0).all() and found.percent_separated == 0


def test_nearest_other_and_share_inside() -> None:
    centers = np.array([[0.0], [1.0], [5.0]])
    assert nearest_center_distances(centers).tolist() == [1, 1, 4]
    features = np.array([[0.0], [0.3], [0.4], [5.1]])  # m = 2: 0.3 is inside 1/3, 0.4 is not
    assert percent_inside_boundaries(features, np.array([0, 0, 0, 2]), centers, 2.0) == 75
    assert percent_inside_boundaries(features, np.array([0, 0, 0, 2]), centers, 1.0) == 100
