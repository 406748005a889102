"""Average precision and precision at K, exact under ties (SPEC section 4).

Photos at the same distance have no order. Every figure here is its expectation over all orders of such
ties, in closed form (McSherry and Najork, ECIR 2008): without ties it is the usual one, with ties it does
not depend on the order of the gallery. Hash codes tie all the time.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

DEFINITIONS = {
    "MAP": "mean over queries of the average precision over the whole ranking (not interpolated), in percent",
    "mAP@200": "mean over queries of the sum of precisions at the hits among the first 200, divided by "
    "min(200, positives), in percent",
    "P@10": "mean over queries of the share of hits among the first 10, in percent",
    "P@100": "mean over queries of the share of hits among the first 100, in percent",
    "P@200": "mean over queries of the share of hits among the first 200, in percent",
    "ties": "photos at equal distance count as the mean over all their orders",
}
PRECISION_AT = (10, 100, 200)
MAP_AT = 200
# Repositories of the field divide the same sum by different things and call each of them mAP@200.
DENOMINATORS = {
    "mAP@200 / hits": "as mAP@200, but divided by the hits among the first 200 (0 without hits)",
    "mAP@200 / positives": "as mAP@200, but divided by all positives of the query",
    "mAP@200 / 200": "as mAP@200, but divided by 200",
}


@dataclass(frozen=True)
class Ranking:
    """Where the positives of one query stand, by groups of equal distance.

    One entry for each positive, nearest first. Ranks count from 0.
    """

    before: np.ndarray  # photos nearer than this positive's group
    size: np.ndarray  # photos in the group
    hits_before: np.ndarray  # positives nearer than the group
    hits: np.ndarray  # positives in the group
    total: int  # photos in the gallery


def rank_positives(distances: np.ndarray, positive: np.ndarray) -> Ranking:
    """`distances` (G,) without NaN, `positive` (G,) bool -> where the positives stand.

    A sort of the distances and four binary searches per positive are all that is needed: no argsort, no
    pass over the gallery in Python.
    """
    ordered = np.sort(distances)
    found = np.sort(distances[positive])
    before, end = (np.searchsorted(ordered, found, side) for side in ("left", "right"))
    hits_before, hits_end = (np.searchsorted(found, found, side) for side in ("left", "right"))
    return Ranking(before, end - before, hits_before, hits_end - hits_before, len(distances))


def precision_sum(ranking: Ranking, k: int) -> float:
    """Expected sum, over the hits among the first `k`, of the precision at each hit.

    In a group of n photos, r of them positive, behind N photos with R positives, position i = 1..n holds a
    hit with probability r/n, and then R + 1 + (i-1)(r-1)/(n-1) hits are expected up to it. With
    a = (r-1)/(n-1), the group's sum of (r/n) (R + 1 + (i-1) a) / (N + i) over i = 1..p is
    (r/n) ((R + 1 - a (N+1)) (H[N+p] - H[N]) + a p), H the harmonic numbers. Each of its r positives
    carries 1/r of it.
    """
    harmonic = harmonic_numbers(ranking.total)
    n, r = ranking.size.astype(float), ranking.hits.astype(float)
    place, found = ranking.before, ranking.hits_before
    taken = np.clip(k - place, 0, ranking.size)  # p: how many of the group are among the first k
    a = (r - 1) / np.maximum(n - 1, 1)
    reciprocals = harmonic[place + taken] - harmonic[place]
    group = (found + 1 - a * (place + 1)) * reciprocals + a * taken
    alone = np.where(taken > 0, (found + 1) / (place + 1), 0.0)  # exact where nothing ties
    return float(np.where(ranking.size == 1, alone, group / n).sum())


@lru_cache(maxsize=2)
def harmonic_numbers(count: int) -> np.ndarray:
    """H[0] to H[count], (count + 1,) float64: the same for every query of a gallery."""
    return np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, count + 1))])


def average_precision(distances: np.ndarray, positive: np.ndarray) -> float:
    """Average precision of one ranking, in [0, 1]; ties averaged, see the module.

    `distances` (G,) ascending is better, `positive` (G,) bool. NaN if nothing is positive.
    """
    ranking = rank_positives(distances, positive)
    return precision_sum(ranking, ranking.total) / len(ranking.size) if len(ranking.size) else float("nan")


def precision_at(ranking: Ranking, k: int) -> float:
    """Expected share of hits among the first `k`, in [0, 1]; a gallery smaller than `k` counts as misses."""
    share = np.clip((k - ranking.before) / ranking.size, 0, 1)  # chance of each positive to be among them
    return float(share.sum() / k)


def average_precisions_at(ranking: Ranking, k: int) -> dict[str, float]:
    """The four things that are called AP@`k`, by what the sum of precisions is divided by, in [0, 1].

    "min" divides by min(k, positives), "hits" by the hits among the first k, "positives" by all positives,
    "k" by k. Where photos tie across rank k, "hits" divides by the expected number of hits.
    """
    total, hits, positives = precision_sum(ranking, k), k * precision_at(ranking, k), len(ranking.size)
    return {
        "min": total / min(k, positives),
        "hits": total / hits if hits else 0.0,
        "positives": total / positives,
        "k": total / k,
    }


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found. Figures are in percent, but for `ap`."""

    metrics: dict[str, float]
    ap: np.ndarray  # (Q,) average precision of each query in [0, 1], NaN without positives
    per_category: dict[int, float]  # label -> MAP of its queries
    queries: int  # those with positives: the ones averaged over
    without_positives: int
    gallery: int
    nearest: np.ndarray  # (Q, top) gallery positions, nearest first


def evaluate(
    rows: Iterable[tuple[int, np.ndarray]],
    query_labels: np.ndarray,
    gallery_labels: np.ndarray,
    *,
    top: int = 0,
    all_definitions: bool = False,
) -> Evaluation:
    """All metrics from one pass over the distance rows that `distances` yields, and the `top` nearest photos.

    `all_definitions` adds the DENOMINATORS of mAP@200. Queries without a positive are left out of every mean
    and counted. Raises ValueError if a distance is NaN, which would sort behind everything in silence, or if
    no query has a positive.
    """
    top = min(top, len(gallery_labels))
    names = ["MAP", f"mAP@{MAP_AT}", *(f"P@{k}" for k in PRECISION_AT)]
    if all_definitions:
        names += DENOMINATORS
    figures = np.full((len(query_labels), len(names)), np.nan)
    nearest = np.zeros((len(query_labels), top), dtype=np.int64)
    for first, distances in rows:
        if np.isnan(distances).any():
            raise ValueError("a distance is NaN: the features are not finite")
        for offset, row in enumerate(distances):
            query = first + offset
            if top:
                nearest[query] = nearest_positions(row, top)
            ranking = rank_positives(row, gallery_labels == query_labels[query])
            positives = len(ranking.size)
            if positives:
                ap_at = average_precisions_at(ranking, MAP_AT)
                values = [
                    precision_sum(ranking, ranking.total) / positives,
                    ap_at["min"],
                    *(precision_at(ranking, k) for k in PRECISION_AT),
                    *(ap_at[name] for name in ("hits", "positives", "k")),
                ]
                figures[query] = values[: len(names)]
    counted = ~np.isnan(figures[:, 0])
    if not counted.any():
        raise ValueError("no query has a photo of its category in the gallery")
    labels = sorted(set(query_labels[counted].tolist()))
    return Evaluation(
        metrics={name: float(100 * figures[counted, i].mean()) for i, name in enumerate(names)},
        ap=figures[:, 0],
        per_category={
            label: float(100 * figures[counted & (query_labels == label), 0].mean()) for label in labels
        },
        queries=int(counted.sum()),
        without_positives=int((~counted).sum()),
        gallery=len(gallery_labels),
        nearest=nearest,
    )


def nearest_positions(distances: np.ndarray, top: int) -> np.ndarray:
    """The positions of the `top` smallest distances, nearest first, the earlier first where they tie."""
    threshold = np.partition(distances, top - 1)[top - 1]
    candidates = np.flatnonzero(distances <= threshold)
    return candidates[np.argsort(distances[candidates], kind="stable")][:top]
