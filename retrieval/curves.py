"""Curves of rankings: precision by recall and by rank; and the confusion between categories.

Exact under ties, as the metrics are: every value is its mean over all orders of the photos at equal distance.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import gammaln

from retrieval.ranking import Ranking

RECALL_LEVELS = 100  # recall in steps of one percent


@dataclass(frozen=True)
class Curves:
    """Means over the queries with positives, in [0, 1].

    `by_recall` (101,): precision at recall 0, 0.01, ..., 1. `by_rank` (K,): precision among the first 1 to K
    photos, and `best_by_rank` (K,) the same if all positives came first. `chance`: the fraction of
    positives in the gallery, which is the precision of a random order.
    """

    by_recall: np.ndarray
    by_rank: np.ndarray
    best_by_rank: np.ndarray
    chance: float


def average_curves(rankings: Iterable[Ranking], ranks: int) -> Curves:
    """The mean curves of `rankings`, up to rank `ranks` or the end of the gallery, whichever comes first.

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
    k = np.arange(1, min(ranks, total) + 1)
    return Curves(
        by_recall=np.mean(by_recall, axis=0),
        by_rank=np.mean(by_rank, axis=0),
        best_by_rank=np.mean([np.minimum(k, count) / k for count in positives], axis=0),
        chance=float(np.mean(positives)) / total,
    )


def precision_by_recall(ranking: Ranking) -> np.ndarray:
    """(101,) float64: the precision at the rank where recall reaches 0, 0.01, ..., 1, not interpolated.

    That is the rank of the hit number ceil(recall x positives), and of the first hit for recall 0.
    """
    levels = np.arange(RECALL_LEVELS + 1)
    hit_numbers = np.maximum(1, -(-levels * ranking.positives // RECALL_LEVELS))  # rounded up in integers
    groups = np.searchsorted(ranking.hits_before + ranking.hits, hit_numbers)
    precision = hit_numbers / (ranking.before[groups] + 1)  # without ties
    for level in np.flatnonzero(ranking.size[groups] > 1):
        group = groups[level]
        precision[level] = precision_in_group(
            int(ranking.before[group]),
            int(ranking.size[group]),
            int(ranking.hits_before[group]),
            int(ranking.hits[group]),
            int(hit_numbers[level]),
        )
    return precision


@lru_cache(maxsize=1 << 16)  # queries of a category may share a group, and all do where all photos tie
def precision_in_group(before: int, size: int, hits_before: int, hits: int, hit_number: int) -> float:
    """Expected precision at the hit `hit_number` of the ranking, from 1, which is in this group of ties.

    The position x of the m-th of r hits among n photos in random order is negative hypergeometric:
    P(x) = C(x - 1, m - 1) C(n - x, r - m) / C(n, r), for x = m .. n - r + m.
    """
    m = hit_number - hits_before
    x = np.arange(m, size - hits + m + 1)
    log_orders = log_binomial(x - 1, m - 1) + log_binomial(size - x, hits - m)
    probability = np.exp(log_orders - log_binomial(np.array(size), hits))
    return float((probability * hit_number / (before + x)).sum())


def log_binomial(n: np.ndarray, k: int) -> np.ndarray:
    return gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0)


def precision_by_rank(ranking: Ranking, ranks: int) -> np.ndarray:
    """(ranks,) float64: the expected fraction of hits among the first 1, 2, ..., `ranks` photos."""
    changes = np.zeros(ranks + 1)  # of the probability of a hit, from one rank to the next
    hit_probability = ranking.hits / ranking.size
    np.add.at(changes, np.minimum(ranking.before, ranks), hit_probability)
    np.add.at(changes, np.minimum(ranking.before + ranking.size, ranks), -hit_probability)
    expected_hits = np.cumsum(np.cumsum(changes[:ranks]))
    return expected_hits / np.arange(1, ranks + 1)


def confusion_matrix(query_labels: np.ndarray, photo_labels: np.ndarray, categories: int) -> np.ndarray:
    """(categories, categories) float64: how often queries of a row's label get photos of a column's label.

    `query_labels` (Q,), `photo_labels` (Q, K) of the nearest photos. Rows sum to 1; those of labels without
    a query are NaN.
    """
    counts = np.zeros((categories, categories))
    rows = np.broadcast_to(query_labels[:, None], photo_labels.shape)
    np.add.at(counts, (rows, photo_labels), 1)
    with np.errstate(invalid="ignore"):
        return counts / counts.sum(axis=1, keepdims=True)
