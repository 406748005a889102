"""Photos that are unlike those of a training are told by their features."""

import numpy as np
import pytest

from retrieval.familiarity import FOREIGN, center_distances, familiarity_limit, foreign_fraction


def test_distances_are_to_the_nearest_centre_by_angle() -> None:
    centers = np.array([[2, 0], [0, 0.5]], np.float32)
    features = np.array([[5, 0], [0, -1], [1, 1]], np.float32)
    assert center_distances(features, centers) == pytest.approx([0, 1, 1 - 0.5**0.5])


def test_photos_of_the_classes_are_within_the_limit_and_others_are_not() -> None:
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((5, 32))
    near = centers[rng.integers(5, size=600)] + 0.3 * rng.standard_normal((600, 32))
    limit = familiarity_limit(near[:300], centers)
    assert foreign_fraction(near[:300], centers, limit) == pytest.approx(0.05, abs=0.01)
    assert foreign_fraction(near[300:], centers, limit) < FOREIGN
    assert foreign_fraction(rng.standard_normal((300, 32)), centers, limit) > 0.9
