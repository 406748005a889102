"""Average precision against the published values, scikit-learn, and all orders of ties, one by one."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from retrieval.metrics import (
    average_precision,
    average_precisions_at,
    chance_metrics,
    evaluate,
    rank_positives,
)
from retrieval.search import code_rankings, feature_rankings


def naive_sum(hits: np.ndarray, k: int) -> float:
    """Sum of the precisions at the hits among the first k of a ranking given as hits and misses."""
    return sum(hits[: i + 1].mean() for i in range(min(k, len(hits))) if hits[i])


def over_all_orders(distances: np.ndarray, positive: np.ndarray, figure) -> float:
    """The mean of `figure(hits)` over all orders of the gallery, each then sorted stably."""
    values = []
    for order in map(np.array, itertools.permutations(range(len(distances)))):
        ranking = order[np.argsort(distances[order], kind="stable")]
        values.append(figure(positive[ranking]))
    return float(np.mean(values))


@pytest.mark.parametrize("kind", ["euclidean", "angular"])
def test_equals_the_published_program(golden, kind: str) -> None:
    golden_values = golden("evaluation")
    labels = golden_values["query_label"], golden_values["gallery_label"]
    rankings = feature_rankings(
        golden_values["query"], golden_values["gallery"], *labels, kind, memory=1 << 20
    )
    found = evaluate(rankings, labels[0])
    error = np.abs(found.ap - golden_values[f"{kind}_ap"])
    if kind == "euclidean":
        # In float32, as the published program computes them, a positive and a negative of this query are
        # at the same distance, and its sort happened to put them in the order that float64 shows wrong.
        error[19] = tied_error(golden_values)
    assert error.max() < 1e-6
    assert found.metrics["MAP"] == pytest.approx(float(golden_values[f"{kind}_map"]), abs=1e-4)


def tied_error(golden_values: dict[str, np.ndarray], query: int = 19) -> float:
    """The distance of the published AP from the nearer of the two orders of its tied pair."""
    distances = golden_values["euclidean_distance"][query].astype(float)
    positive = golden_values["gallery_label"] == golden_values["query_label"][query]
    tied = [d for d in np.unique(distances[positive]) if d in distances[~positive]]
    assert len(tied) == 1
    both = [
        average_precision(distances + nudge * ((distances == tied[0]) & positive), positive)
        for nudge in (-1e-7, 1e-7)
    ]
    return min(abs(ap - golden_values["euclidean_ap"][query]) for ap in both)


def test_equals_scikit_learn_without_ties() -> None:
    rng = np.random.default_rng(0)
    for size in (2, 10, 1000):
        for _ in range(20):
            distances = rng.permutation(size).astype(float)
            positive = rng.random(size) < 0.3
            positive[rng.integers(size)] = True
            expected = average_precision_score(positive, -distances)
            assert average_precision(distances, positive) == pytest.approx(expected, abs=1e-12)


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), min_size=1, max_size=60), st.randoms())
def test_the_order_of_the_gallery_does_not_matter(gallery: list[tuple[int, bool]], random) -> None:
    shuffled = list(gallery)
    random.shuffle(shuffled)
    found, expected = (
        average_precision(np.array([d for d, _ in g], dtype=float), np.array([p for _, p in g]))
        for g in (gallery, shuffled)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_hash_map_does_not_depend_on_the_gallerys_order(golden) -> None:
    golden_values = golden("evaluation")
    order = np.random.default_rng(0).permutation(len(golden_values["code_gallery"]))
    found = [
        evaluate(
            code_rankings(golden_values["code_query"], gallery, golden_values["query_label"], labels),
            golden_values["query_label"],
        )
        for gallery, labels in (
            (golden_values["code_gallery"], golden_values["gallery_label"]),
            (golden_values["code_gallery"][order], golden_values["gallery_label"][order]),
        )
    ]
    assert found[0].metrics == pytest.approx(found[1].metrics, rel=1e-12)


def test_equal_distances_give_the_share_of_positives_almost() -> None:
    """All tied: the expected AP of a random order, by a direct sum."""
    positive = np.array([True] * 3 + [False] * 7)
    expected = sum((1 + (i - 1) * 2 / 9) / i for i in range(1, 11)) / 10
    assert average_precision(np.zeros(10), positive) == pytest.approx(expected, abs=1e-12)


def test_a_small_ranking_by_hand() -> None:
    """hit, miss, hit: AP = (1/1 + 2/3) / 2."""
    found = evaluate([rank_positives(np.array([0.1, 0.2, 0.3]), np.array([1, 0, 1]) == 1)], np.array([7]))
    assert found.metrics["MAP"] == pytest.approx(100 * 5 / 6)
    assert found.metrics["mAP@200"] == pytest.approx(100 * 5 / 6)
    assert found.metrics["P@10"] == pytest.approx(20)
    assert found.per_category == {7: pytest.approx(100 * 5 / 6)}
    assert (found.queries, found.without_positives, found.gallery) == (1, 0, 3)


def test_queries_without_positives_are_left_out_and_counted() -> None:
    distances, none = np.array([0.1, 0.2]), np.zeros(2, dtype=bool)
    rankings = [rank_positives(distances, np.array([True, False])), rank_positives(distances, none)]
    found = evaluate(rankings, np.array([1, 9]))
    assert found.metrics["MAP"] == 100
    assert (found.queries, found.without_positives) == (1, 1)
    assert np.isnan(found.ap[1])
    with pytest.raises(ValueError, match="no query"):
        evaluate([rankings[1]] * 2, np.array([8, 9]))


def test_the_four_average_precisions_at_k_are_those_of_the_documentation() -> None:
    """docs/metrics.md: ten photos, the first five count, two queries."""
    expected = {
        (1, 3, 6): {"hits": 5 / 6, "positives": 5 / 9, "min": 5 / 9, "k": 1 / 3},
        (1, 3, 6, 7, 8, 9, 10): {"hits": 5 / 6, "positives": 5 / 21, "min": 1 / 3, "k": 1 / 3},
    }
    for ranks, values in expected.items():
        positive = np.isin(np.arange(1, 11), ranks)
        found = average_precisions_at(rank_positives(np.arange(10.0), positive), 5)
        assert found == pytest.approx(values)


def test_no_hit_among_the_first_k() -> None:
    positive = np.array([False, False, True])
    found = average_precisions_at(rank_positives(np.arange(3.0), positive), 2)
    assert set(found.values()) == {0.0}


def test_all_definitions_are_added_to_the_others() -> None:
    rng = np.random.default_rng(0)
    distances, labels = rng.random((3, 500)), rng.integers(0, 2, 500)
    queries = np.array([0, 1, 0])
    rankings = [
        rank_positives(row, labels == label) for row, label in zip(distances, queries.tolist(), strict=True)
    ]
    plain, every = (evaluate(rankings, queries, all_definitions=each) for each in (False, True))
    assert every.metrics.items() > plain.metrics.items()
    by = {name: every.metrics[f"mAP@200 / {name}"] for name in ("hits", "positives", "200")}
    assert by["hits"] > by["200"] == pytest.approx(every.metrics["mAP@200"])  # 250 positives: min is 200
    assert by["positives"] < by["200"]


@pytest.mark.parametrize(("positives", "total"), [(1, 1), (1, 6), (2, 7), (4, 7), (6, 7)])
def test_chance_is_the_mean_over_all_orders(monkeypatch, positives: int, total: int) -> None:
    monkeypatch.setattr("retrieval.metrics.MAP_AT", 3)
    monkeypatch.setattr("retrieval.metrics.PRECISION_AT", (1, 2, 5))
    chance_metrics.cache_clear()
    found = chance_metrics(positives, total)
    chance_metrics.cache_clear()
    orders = [
        np.array(each)
        for each in set(itertools.permutations([True] * positives + [False] * (total - positives)))
    ]
    expected = [
        np.mean([naive_sum(hits, total) / positives for hits in orders]),
        np.mean([naive_sum(hits, 3) / min(3, positives) for hits in orders]),
        *(np.mean([hits[:k].sum() / k for hits in orders]) for k in (1, 2, 5)),
    ]
    np.testing.assert_allclose(found[:5], expected, rtol=1e-12)
    harmonic = sum(1 / n for n in range(1, total + 1)) / total
    share = (positives - 1) / (total - 1) if total > 1 else 1
    assert found[0] == pytest.approx(share * (1 - harmonic) + harmonic)
    assert found[2] == pytest.approx(positives / total)


def test_chance_is_averaged_over_the_queries_that_count() -> None:
    gallery_labels = np.array([0, 0, 0, 1, 2, 2])
    labels = np.array([0, 1, 3])  # no photo of the last one's category
    codes = np.zeros((6, 4), np.uint8)
    found = evaluate(code_rankings(codes[:3], codes, labels, gallery_labels), labels)
    assert found.chance == pytest.approx(found.metrics)  # all photos tie
    assert found.chance["P@10"] == pytest.approx(100 * (3 + 1) / 2 / 10)
    near = np.array([[1], [0], [1]], np.uint8)
    sorted_out = evaluate(code_rankings(near, (gallery_labels == 0)[:, None], labels, gallery_labels), labels)
    assert sorted_out.chance == found.chance and sorted_out.metrics["MAP"] > 60
