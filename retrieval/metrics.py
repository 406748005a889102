"""Average precision and precision at K, exact under ties (docs/method.md, Evaluation).

Photos at the same distance have no order. Every figure here is its expectation over all orders of such
ties, in closed form (McSherry and Najork, ECIR 2008): without ties it is the usual one, with ties it does
not depend on the order of the gallery. Hash codes tie all the time.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from retrieval.ranking import Ranking, from_groups, rank_positives

DEFINITIONS = {
    "MAP": "mean over queries of the average precision over the whole ranking (not interpolated), in percent",
    "mAP@200": "mean over queries of the sum of precisions at the hits among the first 200, divided by "
    "min(200, positives), in percent",
    "P@10": "mean over queries of the share of hits among the first 10, in percent",
    "P@100": "mean over queries of the share of hits among the first 100, in percent",
    "P@200": "mean over queries of the share of hits among the first 200, in percent",
    "ties": "photos at equal distance count as the mean over all their orders",
    "chance": "the same figure of photos in random order: its mean over all orders of the gallery, in "
    "percent",
}
PRECISION_AT = (10, 100, 200)
MAP_AT = 200
# Repositories of the field divide the same sum by different things and call each of them mAP@200.
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
    place, found = ranking.before, ranking.hits_before
    taken = np.clip(k - place, 0, ranking.size)  # p: how many of the group are among the first k
    a = (r - 1) / np.maximum(n - 1, 1)
    reciprocals = harmonic[place + taken] - harmonic[place]
    group = (r / n) * ((found + 1 - a * (place + 1)) * reciprocals + a * taken)
    alone = np.where(taken > 0, (found + 1) / (place + 1), 0.0)  # exact where nothing ties
    return float(np.where(ranking.size == 1, alone, group).sum())


@lru_cache(maxsize=2)
def harmonic_numbers(count: int) -> np.ndarray:
    """H[0] to H[count], (count + 1,) float64: the same for every query of a gallery."""
    return np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, count + 1))])


def average_precision(distances: np.ndarray, positive: np.ndarray) -> float:
    """Average precision of one ranking, in [0, 1]; ties averaged, see the module.

    `distances` (G,) ascending is better, `positive` (G,) bool. NaN if nothing is positive.
    """
    ranking = rank_positives(distances, positive)
    return precision_sum(ranking, ranking.total) / ranking.positives if ranking.positives else float("nan")


def precision_at(ranking: Ranking, k: int) -> float:
    """Expected share of hits among the first `k`, in [0, 1]; a gallery smaller than `k` counts as misses."""
    share = np.clip((k - ranking.before) / ranking.size, 0, 1)  # of each group that is among them
    return float((ranking.hits * share).sum() / k)


def average_precisions_at(ranking: Ranking, k: int) -> dict[str, float]:
    """The four things that are called AP@`k`, by what the sum of precisions is divided by, in [0, 1].

    "min" divides by min(k, positives), "hits" by the hits among the first k, "positives" by all positives,
    "k" by k. Where photos tie across rank k, "hits" divides by the expected number of hits.
    """
    total, hits, positives = precision_sum(ranking, k), k * precision_at(ranking, k), ranking.positives
    return {
        "min": total / min(k, positives),
        "hits": total / hits if hits else 0.0,
        "positives": total / positives,
        "k": total / k,
    }


@lru_cache(maxsize=1024)  # queries of a category share their numbers of positives
def chance_figures(positives: int, total: int) -> list[float]:
    """What `figures_of` expects of `total` photos in random order, `positives` >= 1 of them positive.

    A random order is one tie of all photos, so the closed forms for ties hold. Of R positives among N photos
    the average precision is (R - 1) / (N - 1) (1 - H[N] / N) + H[N] / N, and P@K is R / N.
    """
    tie = from_groups(np.array([0]), np.array([total]), np.array([positives]), total)
    return figures_of(tie)


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found. Figures are in percent, but for `ap`."""

    metrics: dict[str, float]
    chance: dict[str, float]  # the same figures of photos in random order
    ap: np.ndarray  # (Q,) average precision of each query in [0, 1], NaN without positives
    per_category: dict[int, float]  # label -> MAP of its queries
    queries: int  # those with positives: the ones averaged over
    without_positives: int
    gallery: int


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
    figures = np.full((len(query_labels), len(names)), np.nan)
    chance = np.full_like(figures, np.nan)
    total = 0
    for query, ranking in enumerate(rankings):
        total = ranking.total
        if ranking.positives:
            figures[query] = figures_of(ranking)[: len(names)]
            chance[query] = chance_figures(ranking.positives, ranking.total)[: len(names)]
    counted = ~np.isnan(figures[:, 0])
    if not counted.any():
        raise ValueError("no query has a photo of its category in the gallery")
    labels = sorted(set(query_labels[counted].tolist()))
    return Evaluation(
        metrics={name: float(100 * figures[counted, i].mean()) for i, name in enumerate(names)},
        chance={name: float(100 * chance[counted, i].mean()) for i, name in enumerate(names)},
        ap=figures[:, 0],
        per_category={
            label: float(100 * figures[counted & (query_labels == label), 0].mean()) for label in labels
        },
        queries=int(counted.sum()),
        without_positives=int((~counted).sum()),
        gallery=total,
    )


def figures_of(ranking: Ranking) -> list[float]:
    """All figures of one query that has positives, in [0, 1], in the order of their names in `evaluate`."""
    at = average_precisions_at(ranking, MAP_AT)
    return [
        precision_sum(ranking, ranking.total) / ranking.positives,
        at["min"],
        *(precision_at(ranking, k) for k in PRECISION_AT),
        *(at[name] for name in ("hits", "positives", "k")),
    ]
