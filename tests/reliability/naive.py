"""Figures and losses a second time, written from their definitions alone, in float64 and slowly."""

import math
from fractions import Fraction
from itertools import pairwise, permutations

import numpy as np

Batch = tuple[np.ndarray, np.ndarray, np.ndarray]  # features (B, D), centres (C, D), labels (B,)


def precision_sum(hits: list[bool], k: int) -> Fraction:
    """The sum, over the hits among the first `k`, of the share of hits up to each."""
    return sum((Fraction(sum(hits[: i + 1]), i + 1) for i in range(min(k, len(hits))) if hits[i]), Fraction())


def expected(distances: list[int], positive: list[bool], k: int) -> tuple[Fraction, Fraction]:
    """Means of `precision_sum` and of the hits among the first `k` over all orders of photos that tie."""
    orders = [
        [positive[i] for i in order]
        for order in permutations(range(len(distances)))
        if all(distances[a] <= distances[b] for a, b in pairwise(order))
    ]
    sums = sum((precision_sum(hits, k) for hits in orders), Fraction())
    return sums / len(orders), Fraction(sum(sum(hits[:k]) for hits in orders), len(orders))


def groups(distances: np.ndarray, positive: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Per distance at which there are positives: photos nearer, photos at it, positives nearer and at it."""
    found = []
    for value in sorted(set(distances[positive].tolist())):
        nearer, there = distances < value, distances == value
        hits_before, hits = nearer & positive, there & positive
        found.append((int(nearer.sum()), int(there.sum()), int(hits_before.sum()), int(hits.sum())))
    return found


def squared_distance(sketch: np.ndarray, photo: np.ndarray) -> float:
    """The smallest over the mirrors of both, (D, M) and (D, M)."""
    return min(((a - b) ** 2).sum() for a in sketch.T.astype(float) for b in photo.T.astype(float))


def logits(loss: str, batch: Batch, margin: float, scale: float) -> np.ndarray:
    """A batch -> (B, C), pair by pair (docs/method.md, Losses); `margin` is what applies now."""
    features, centers, labels = batch
    found = np.empty((len(features), len(centers)))
    for row, (feature, label) in enumerate(zip(features.astype(float), labels, strict=True)):
        for column, center in enumerate(centers.astype(float)):
            target = column == label
            length = math.hypot(*feature)
            cosine = min(max(feature @ center / length / math.hypot(*center), -1.0), 1.0)
            if loss == "mems":
                value = -((feature - center) ** 2).sum() * (margin**2 if target else 1)
            elif loss == "cosface":
                value = scale * (cosine - margin * target)
            elif loss == "a-softmax":
                value = length * (psi(cosine, margin) if target else cosine)
            else:
                value = feature @ center
            found[row, column] = value
    return found


def psi(cosine: float, margin: float) -> float:
    theta = math.acos(cosine)
    k = math.floor(margin * theta / math.pi)
    return (-1) ** k * math.cos(margin * theta) - 2 * k


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(B, C), (B,) -> (B,)."""
    highest = logits.max(1)
    summed = np.log(np.exp(logits - highest[:, None]).sum(1)) + highest
    return summed - logits[np.arange(len(labels)), labels]
