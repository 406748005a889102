"""Three ways to a ranking, against the one that looks at every photo."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.ranking import Ranking, rank_close_calls, rank_from_counts, rank_positives, select_nearest


def by_hand(distances: np.ndarray, positive: np.ndarray) -> list[tuple[int, int, int, int]]:
    """(before, size, hits before, hits) of every group that holds positives."""
    return [
        (
            int((distances < value).sum()),
            int((distances == value).sum()),
            int((positive & (distances < value)).sum()),
            int((positive & (distances == value)).sum()),
        )
        for value in sorted(set(distances[positive].tolist()))
    ]


def groups(ranking: Ranking) -> list[tuple[int, ...]]:
    columns = (ranking.before, ranking.size, ranking.hits_before, ranking.hits)
    return [tuple(int(value) for value in row) for row in zip(*columns, strict=True)]


galleries = st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=1, max_size=40)


@given(galleries)
def test_from_distances_and_from_counts(gallery: list[tuple[int, bool]]) -> None:
    distances = np.array([d for d, _ in gallery])
    positive = np.array([p for _, p in gallery])
    expected = by_hand(distances, positive)
    assert groups(rank_positives(distances.astype(float), positive)) == expected
    counts = [np.bincount(each, minlength=13) for each in (distances, distances[positive])]
    ranking = rank_from_counts(*counts)
    assert groups(ranking) == expected
    assert ranking.total == len(gallery) and ranking.positives == positive.sum()


@given(galleries, st.sampled_from([1e-6, 0.01, 0.4, 0.6, 3.0]), st.integers(0, 2**32 - 1))
def test_close_calls_are_decided_by_the_exact_distances(
    gallery: list[tuple[int, bool]], error: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    distances = np.array([d for d, _ in gallery], dtype=float)
    positive = np.array([p for _, p in gallery])
    approx = np.maximum(distances + rng.uniform(-error, error, len(distances)), 0).astype(np.float32)
    tolerance = float(np.abs(approx - distances).max())
    ranking = rank_close_calls(approx, np.flatnonzero(positive), tolerance, lambda photos: distances[photos])
    assert groups(ranking) == by_hand(distances, positive)


def test_exact_distances_are_asked_for_where_they_matter_alone() -> None:
    approx = np.array([0.0, 1.0, 1.1, 2.0, 3.0, 3.05, 9.0], dtype=np.float32)
    positives = np.array([0, 1, 6])
    asked = []

    def exact(photos: np.ndarray) -> np.ndarray:
        asked.extend(photos.tolist())
        return np.where(photos == 1, 1.2, approx[photos])

    ranking = rank_close_calls(approx, positives, 0.1, exact)
    assert sorted(asked) == [1, 2], "of the pair 4, 5 none is a positive"
    assert groups(ranking) == [(0, 1, 0, 1), (2, 1, 1, 1), (6, 1, 2, 1)]


def test_without_positives_there_is_nothing() -> None:
    none = np.zeros(0, dtype=np.int64)
    ranking = rank_close_calls(np.ones(3, dtype=np.float32), none, 0.1, lambda p: p * 1.0)
    assert groups(ranking) == [] and ranking.positives == 0 and ranking.total == 3


@pytest.mark.parametrize("top", [1, 3, 10, 50])
def test_the_nearest_are_those_of_a_stable_sort_of_exact_distances(top: int) -> None:
    rng = np.random.default_rng(top)
    distances = rng.integers(0, 20, 50).astype(float)
    approx = np.maximum(distances + rng.uniform(-0.7, 0.7, 50), 0).astype(np.float32)
    tolerance = float(np.abs(approx - distances).max())
    positions, values = select_nearest(approx, top, tolerance, lambda photos: distances[photos])
    expected = np.argsort(distances, kind="stable")[:top]
    assert positions.tolist() == expected.tolist() and values.tolist() == distances[expected].tolist()
