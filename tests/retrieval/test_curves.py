"""Curves against naive ones in float64, over all orders of ties, and against the metrics."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.curves import average_curves, confusion_matrix, precision_by_rank, precision_by_recall
from retrieval.metrics import evaluate
from retrieval.ranking import rank_positives

galleries = st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=5)


def naive_by_recall(hits: np.ndarray) -> np.ndarray:
    """Precision at the first rank where so many percent of the positives are found, rank by rank."""
    values = []
    for percent in range(101):
        found = 0
        for rank, hit in enumerate(hits, start=1):
            found += hit
            if hit and 100 * found >= percent * hits.sum():
                values.append(found / rank)
                break
    return np.array(values)


def naive_by_rank(hits: np.ndarray, ranks: int) -> np.ndarray:
    return np.array([hits[:k].sum() / k for k in range(1, ranks + 1)])


def over_all_orders(distances: np.ndarray, positive: np.ndarray, curve) -> np.ndarray:
    """The mean of `curve(hits)` over all orders of the gallery, each then sorted stably."""
    values = []
    for order in map(np.array, itertools.permutations(range(len(distances)))):
        values.append(curve(positive[order[np.argsort(distances[order], kind="stable")]]))
    return np.mean(values, axis=0)


@given(galleries.filter(lambda gallery: any(hit for _, hit in gallery)))
def test_ties_are_the_mean_over_all_orders(gallery: list[tuple[int, bool]]) -> None:
    distances = np.array([distance for distance, _ in gallery], dtype=float)
    positive = np.array([hit for _, hit in gallery])
    ranking = rank_positives(distances, positive)
    expected = over_all_orders(distances, positive, naive_by_recall)
    assert precision_by_recall(ranking) == pytest.approx(expected, abs=1e-12)
    for ranks in {1, len(gallery)}:
        expected = over_all_orders(distances, positive, lambda hits, k=ranks: naive_by_rank(hits, k))
        assert precision_by_rank(ranking, ranks) == pytest.approx(expected, abs=1e-12)


def test_without_ties_they_are_the_naive_ones() -> None:
    rng = np.random.default_rng(0)
    for positives in (1, 7, 100, 129, 300):
        distances = rng.permutation(700).astype(float)
        positive = np.zeros(700, dtype=bool)
        positive[:positives] = True
        hits = positive[np.argsort(distances)]
        ranking = rank_positives(distances, positive)
        assert precision_by_recall(ranking) == pytest.approx(naive_by_recall(hits), abs=1e-12)
        assert precision_by_rank(ranking, 700) == pytest.approx(naive_by_rank(hits, 700), abs=1e-12)


def test_a_gallery_that_ties_as_a_whole_has_the_precision_of_chance() -> None:
    """Collapsed features: a large group, whose probabilities must not overflow."""
    ranking = rank_positives(np.zeros(20_000), np.arange(20_000) < 500)
    assert precision_by_rank(ranking, 50) == pytest.approx(np.full(50, 500 / 20_000))
    assert precision_by_recall(ranking)[-1] == pytest.approx(500 / 20_000, rel=1e-2)


def test_means_over_queries_agree_with_the_metrics() -> None:
    rng = np.random.default_rng(1)
    labels, queries = rng.integers(0, 4, 300), np.array([0, 1, 2, 3, 9])  # of label 9 there is no photo
    rankings = [rank_positives(rng.integers(0, 90, 300).astype(float), labels == each) for each in queries]
    found, metrics = average_curves(rankings, 1000), evaluate(rankings, queries).metrics
    assert len(found.by_rank) == len(found.best_by_rank) == 300, "no further than the gallery"
    for k in (10, 100, 200):
        assert 100 * found.by_rank[k - 1] == pytest.approx(metrics[f"P@{k}"], rel=1e-12)
    assert 100 * found.by_recall[1:].mean() == pytest.approx(metrics["MAP"], abs=1.0)
    counts = [(labels == each).sum() for each in range(4)]
    assert found.chance == pytest.approx(np.mean(counts) / 300)
    assert found.by_rank[-1] == pytest.approx(found.chance) == found.best_by_rank[-1]
    assert found.best_by_rank[min(counts) - 1] == 1
    assert len(average_curves(rankings, 7).by_rank) == 7
    with pytest.raises(ValueError, match="no query"):
        average_curves(rankings[4:], 10)


def test_the_recall_levels_are_not_rounded() -> None:
    """7 % of 100 positives are 7 of them, not 8: in floating point 0.07 * 100 is more than 7."""
    assert math.ceil(0.07 * 100) == 8
    ranking = rank_positives(np.r_[np.arange(7.0), 1000 + np.arange(93.0), 500.0], np.arange(101) < 100)
    assert precision_by_recall(ranking)[[7, 8]].tolist() == [1.0, 8 / 9]


def test_confusion_by_hand() -> None:
    found = confusion_matrix(np.array([0, 0, 2]), np.array([[0, 1], [0, 0], [1, 2]]), 4)
    assert found[0].tolist() == [0.75, 0.25, 0, 0] and found[2].tolist() == [0, 0.5, 0.5, 0]
    assert np.isnan(found[[1, 3]]).all(), "no query of these"
