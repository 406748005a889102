"""The map keeps neighbours together, is the same for one seed, and needs no luck with its input."""

import sys

import numpy as np
import pytest

from retrieval.projection import project_to_plane
from utils.errors import UserError


def groups(count: int, dim: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Features (3 count, dim) around three distant points, and which one."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), count)
    centres = 20 * rng.standard_normal((3, dim))
    return (centres[labels] + rng.standard_normal((len(labels), dim))).astype(np.float32), labels


def test_groups_stay_groups() -> None:
    features, labels = groups(20)
    points = project_to_plane(features, angular=False, seed=1)
    assert points.shape == (60, 2)
    distances = np.linalg.norm(points[:, None] - points, axis=-1)
    np.fill_diagonal(distances, np.inf)
    assert (labels[distances.argmin(1)] == labels).all()
    assert (project_to_plane(features, angular=False, seed=1) == points).all()


def test_by_angle_lengths_do_not_matter() -> None:
    features, _ = groups(10)
    longer = features * 2 ** (np.arange(30, dtype=np.float32)[:, None] % 5)  # exactly, to the last bit
    one, other = (project_to_plane(each, angular=True, seed=0) for each in (features, longer))
    assert (one == other).all()
    assert not np.allclose(one, project_to_plane(longer, angular=False, seed=0), atol=1)


@pytest.mark.parametrize("shape", [(2, 8), (3, 1), (5, 8), (40, 2)])
def test_few_images_and_few_features(shape: tuple[int, int]) -> None:
    points = project_to_plane(
        np.random.default_rng(0).random(shape, dtype=np.float32), angular=False, seed=2**40
    )
    assert points.shape == (shape[0], 2) and np.isfinite(points).all()


def test_features_that_are_all_the_same_lie_in_one_place() -> None:
    assert not project_to_plane(np.ones((9, 4), dtype=np.float32), angular=False, seed=0).any()


def test_without_scikit_learn_it_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    with pytest.raises(UserError, match=r"pip install -r requirements/report\.txt"):
        project_to_plane(groups(3)[0], angular=False, seed=0)
