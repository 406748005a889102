"""What is drawn of rankings: precision by recall and by rank, and which categories are found for which.

Exact under ties as the metrics are: every value is its mean over all orders of the photos at equal distance.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import gammaln

from retrieval.ranking import Ranking

LEVELS = 100  # recall is looked at from 0 to 100 percent


@dataclass(frozen=True)
class Curves:
    """Means over the queries with positives, in [0, 1].

    `by_recall` (101,): precision at recall 0, 0.01, ..., 1. `by_rank` (K,): precision among the first 1 to K
    photos, and `best_by_rank` (K,) what it would be if all positives came first. `chance`: the share of
    positives in the gallery, the precision of a random order.
    """

    by_recall: np.ndarray
    by_rank: np.ndarray
    best_by_rank: np.ndarray
    chance: float


def curves(rankings: Iterable[Ranking], ranks: int) -> Curves:
    """The curves of all `rankings`, up to rank `ranks` or the end of the gallery, whichever comes first.

    Raises ValueError if no query has a positive.
    """
    by_recall, by_rank, positives, total = [], [], [], 0
    for ranking in rankings:
        total = ranking.total
        if ranking.positives:
            positives.append(ranking.positives)
            by_recall.append(precision_by_recall(ranking))
            by_rank.append(precision_by_rank(ranking, min(ranks, total)))
    if not positives:
        raise ValueError("no query has a photo of its category in the gallery")
    places = np.arange(1, min(ranks, total) + 1)
    best = np.mean([np.minimum(places, count) / places for count in positives], axis=0)
    return Curves(
        np.mean(by_recall, axis=0), np.mean(by_rank, axis=0), best, float(np.mean(positives)) / total
    )


def precision_by_recall(ranking: Ranking) -> np.ndarray:
    """(101,) float64: the precision at the rank where recall reaches 0, 0.01, ..., 1, not interpolated.

    That is the rank of the hit number ceil(recall x positives), and of the first hit for recall 0.
    """
    wanted = np.maximum(1, -(-np.arange(LEVELS + 1) * ranking.positives // LEVELS))  # in integers, exactly
    group = np.searchsorted(ranking.hits_before + ranking.hits, wanted)
    before, size = ranking.before[group], ranking.size[group]
    found, hits = ranking.hits_before[group], ranking.hits[group]
    precision = wanted / (before + 1)  # where nothing ties
    for level in np.flatnonzero(size > 1):
        columns = (before, size, found, hits, wanted)
        precision[level] = precision_in_group(*(int(column[level]) for column in columns))
    return precision


@lru_cache(maxsize=1 << 16)  # queries of a category may share a group: all of them where all photos tie
def precision_in_group(before: int, size: int, hits_before: int, hits: int, wanted: int) -> float:
    """Expected precision at the hit number `wanted` of the ranking, which falls into this group of ties.

    The place x of the m-th of r hits among n photos in random order is negative hypergeometric:
    P(x) = C(x - 1, m - 1) C(n - x, r - m) / C(n, r), for x = m .. n - r + m.
    """
    nth = wanted - hits_before
    place = np.arange(nth, size - hits + nth + 1)
    logarithm = log_binomial(place - 1, nth - 1) + log_binomial(size - place, hits - nth)
    probability = np.exp(logarithm - log_binomial(np.array(size), hits))
    return float((probability * wanted / (before + place)).sum())


def log_binomial(n: np.ndarray, k: int) -> np.ndarray:
    return gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0)


def precision_by_rank(ranking: Ranking, ranks: int) -> np.ndarray:
    """(ranks,) float64: the expected share of hits among the first 1, 2, ..., `ranks` photos."""
    steps = np.zeros(ranks + 1)  # of the chance of a hit, from one place to the next
    chance = ranking.hits / ranking.size
    np.add.at(steps, np.minimum(ranking.before, ranks), chance)
    np.add.at(steps, np.minimum(ranking.before + ranking.size, ranks), -chance)
    return np.cumsum(np.cumsum(steps[:ranks])) / np.arange(1, ranks + 1)


def confusion(query_labels: np.ndarray, found_labels: np.ndarray, categories: int) -> np.ndarray:
    """(categories, categories) float64: of what is found for the queries of a row's label, the share of each.

    `query_labels` (Q,), `found_labels` (Q, K) of the nearest photos. Rows sum to 1; those of labels without
    a query are NaN.
    """
    counts = np.zeros((categories, categories))
    np.add.at(counts, (np.broadcast_to(query_labels[:, None], found_labels.shape), found_labels), 1)
    with np.errstate(invalid="ignore"):
        return counts / counts.sum(axis=1, keepdims=True)
