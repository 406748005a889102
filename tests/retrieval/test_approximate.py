"""What an index proposes, whatever that is: the distances are exact, and nothing is made up."""

import numpy as np
import pytest

from retrieval import approximate
from retrieval.search import find_nearest


class Proposing:
    """In the place of FAISS's index: proposes these views, -1 where it has no more."""

    def __init__(self, found: list[int]) -> None:
        self.found, self.ntotal = found, 8

    def search(self, views: np.ndarray, count: int, params: object) -> tuple[None, np.ndarray]:
        return None, np.array([self.found] * len(views))


@pytest.fixture
def values() -> np.ndarray:
    """Features of four photos, as is and mirrored."""
    return np.random.default_rng(0).standard_normal((4, 3, 2), dtype=np.float32)


@pytest.mark.parametrize(
    ("found", "photos"), [([-1, -1], []), ([5, -1], [1]), ([2, 6, 3], [2, 3]), ([0, 1, 2, 7], [0, 1, 2, 3])]
)
def test_photos_that_are_proposed_come_by_exact_distance(
    values: np.ndarray, monkeypatch: pytest.MonkeyPatch, found: list[int], photos: list[int]
) -> None:
    monkeypatch.setattr(approximate.ApproximateIndex, "search_parameters", lambda *_: None)
    index = approximate.ApproximateIndex(Proposing(found), values, "euclidean", 0)
    query = np.ones((3, 2), np.float32)
    positions, distances = index.search(query, 3)
    everything, exact = (each[0] for each in find_nearest(query[None], values, "euclidean", 4, memory=1))
    kept = [place for place, photo in enumerate(everything) if photo in photos][:3]
    assert positions.tolist() == everything[kept].tolist()
    np.testing.assert_allclose(distances, exact[kept], rtol=1e-6)
