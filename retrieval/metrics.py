"""Average precision and precision at K, exact under ties (docs/method.md, Evaluation).

Photos at the same distance have no order. Every metric here is its expectation over all orders of such
ties, in closed form (McSherry and Najork, ECIR 2008): without ties it is the usual one, with ties it does
not depend on the order of the gallery. Hash codes tie all the time.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from retrieval.ranking import Ranking, rank_positives

DEFINITIONS = {
    "MAP": "mean over queries of the average precision over the whole ranking (not interpolated), in percent",
    "mAP@200": "mean over queries of the sum of precisions at the hits among the first 200, divided by "
    "min(200, positives), in percent",
    "P@10": "mean over queries of the share of hits among the first 10, in percent",
    "P@100": "mean over queries of the share of hits among the first 100, in percent",
    "P@200": "mean over queries of the share of hits among the first 200, in percent",
    "ties": "photos at equal distance count as the mean over all their orders",
    "chance": "the same metric of photos in random order: its mean over all orders of the gallery, in "
    "percent",
}
PRECISION_AT = (10, 100, 200)
MAP_AT = 200
# public code divides the same sum by different things and calls each result mAP@200
DENOMINATORS = {
    "mAP@200 / hits": "as mAP@200, but divided by the hits among the first 200 (0 without hits)",
    "mAP@200 / positives": "as mAP@200, but divided by all positives of the query",
    "mAP@200 / 200": "as mAP@200, but divided by 200",
}


def precision_sum(ranking: Ranking, k: int) -> float:
    """Expected sum, over the hits among the first `k`, of the precision at each hit.

    In a group of n photos, r of them positive, behind N photos with R positives, position i = 1..n holds a
    hit with probability r/n, and then R + 1 + (i-1)(r-1)/(n-1) hits are expected up to it. With
    a = (r-1)/(n-1), the group's sum of (r/n) (R + 1 + (i-1) a) / (N + i) over i = 1..p is
    (r/n) ((R + 1 - a (N+1)) (H[N+p] - H[N]) + a p), H the harmonic numbers.
    """
    harmonic = harmonic_numbers(ranking.total)
    n, r = ranking.size.astype(float), ranking.hits.astype(float)
    before, hits_before = ranking.before, ranking.hits_before  # N and R
    p = np.clip(k - before, 0, ranking.size)  # how many of the group are among the first k
    a = (r - 1) / np.maximum(n - 1, 1)
    reciprocals = harmonic[before + p] - harmonic[before]
    tied = (r / n) * ((hits_before + 1 - a * (before + 1)) * reciprocals + a * p)
    untied = np.where(p > 0, (hits_before + 1) / (before + 1), 0.0)  # without rounding errors of `harmonic`
    return float(np.where(ranking.size == 1, untied, tied).sum())


@lru_cache(maxsize=2)
def harmonic_numbers(count: int) -> np.ndarray:
    """H[0] to H[count], (count + 1,) float64: the same for every query of a gallery."""
    return np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, count + 1))])


def average_precision(distances: np.ndarray, is_positive: np.ndarray) -> float:
    """Average precision of one ranking, in [0, 1], averaged over ties; NaN without positives.

    `distances` (G,): smaller is better; `is_positive` (G,) bool.
    """
    ranking = rank_positives(distances, is_positive)
    if not ranking.positives:
        return float("nan")
    return precision_sum(ranking, ranking.total) / ranking.positives


def precision_at(ranking: Ranking, k: int) -> float:
    """Expected fraction of hits among the first `k`, in [0, 1]; ranks beyond the gallery count as misses."""
    fraction = np.clip((k - ranking.before) / ranking.size, 0, 1)  # of each group that is among the first k
    return float((ranking.hits * fraction).sum() / k)


def average_precisions_at(ranking: Ranking, k: int) -> dict[str, float]:
    """The four metrics that are called AP@`k`, by what the sum of precisions is divided by, in [0, 1].

    "min" divides by min(k, positives), "hits" by the hits among the first k, "positives" by all positives,
    "k" by k. Where photos tie across rank k, "hits" divides by the expected number of hits.
    """
    precisions, positives = precision_sum(ranking, k), ranking.positives
    hits = k * precision_at(ranking, k)
    return {
        "min": precisions / min(k, positives),
        "hits": precisions / hits if hits else 0.0,
        "positives": precisions / positives,
        "k": precisions / k,
    }


@lru_cache(maxsize=1024)  # queries of a category have the same number of positives
def chance_metrics(positives: int, total: int) -> list[float]:
    """`query_metrics` of `total` photos in random order, `positives` >= 1 of them positive.

    A random order is one tie of all photos, so the closed forms for ties hold. Of R positives among N photos
    the average precision is (R - 1) / (N - 1) (1 - H[N] / N) + H[N] / N, and P@K is R / N.
    """
    one_tie = Ranking.from_groups(np.array([0]), np.array([total]), np.array([positives]), total)
    return query_metrics(one_tie)


@dataclass(frozen=True)
class Evaluation:
    """The results of an evaluation, in percent but for `ap`."""

    metrics: dict[str, float]
    chance: dict[str, float]  # the same metrics of photos in random order
    ap: np.ndarray  # (Q,) average precision of each query in [0, 1], NaN without positives
    per_category: dict[int, float]  # label -> MAP of its queries
    queries: int  # number of queries with positives, which the metrics are averaged over
    without_positives: int  # number of queries without
    gallery: int  # number of photos


def evaluate(
    rankings: Iterable[Ranking], query_labels: np.ndarray, *, all_definitions: bool = False
) -> Evaluation:
    """All metrics from one pass over the rankings of the queries, in their order.

    `all_definitions` adds the DENOMINATORS of mAP@200. Queries without a positive are left out of every mean
    and counted. Raises ValueError if no query has a positive.
    """
    names = ["MAP", f"mAP@{MAP_AT}", *(f"P@{k}" for k in PRECISION_AT)]
    if all_definitions:
        names += DENOMINATORS
    values = np.full((len(query_labels), len(names)), np.nan)
    chance = np.full_like(values, np.nan)
    total = 0
    for query, ranking in enumerate(rankings):
        total = ranking.total
        if ranking.positives:
            values[query] = query_metrics(ranking)[: len(names)]
            chance[query] = chance_metrics(ranking.positives, ranking.total)[: len(names)]
    has_positives = ~np.isnan(values[:, 0])
    if not has_positives.any():
        raise ValueError("no query has a photo of its category in the gallery")
    labels = sorted(set(query_labels[has_positives].tolist()))
    return Evaluation(
        metrics={name: float(100 * values[has_positives, i].mean()) for i, name in enumerate(names)},
        chance={name: float(100 * chance[has_positives, i].mean()) for i, name in enumerate(names)},
        ap=values[:, 0],
        per_category={
            label: float(100 * values[has_positives & (query_labels == label), 0].mean()) for label in labels
        },
        queries=int(has_positives.sum()),
        without_positives=int((~has_positives).sum()),
        gallery=total,
    )


def query_metrics(ranking: Ranking) -> list[float]:
    """All metrics of one query that has positives, in [0, 1], in the order of their names in `evaluate`."""
    at = average_precisions_at(ranking, MAP_AT)
    return [
        precision_sum(ranking, ranking.total) / ranking.positives,
        at["min"],
        *(precision_at(ranking, k) for k in PRECISION_AT),
        *(at[name] for name in ("hits", "positives", "k")),
    ]
