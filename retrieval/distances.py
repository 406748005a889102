"""Distances between queries and gallery over mirrored pairs, in float32, with exact ones for close calls.

Most of the work is four matrix products in float32. They are within a small error of the exact distances;
wherever that could change the ranking of a positive, `ranking.rank_close_calls` asks for the exact
distances, in float64, of the few photos concerned. So the ranking is that of float64 at the cost of float32.

Features are shifted by the gallery's mean first: |q|^2 + |g|^2 - 2 q.g cancels when they lie far from the
origin, and a shift changes no distance.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

DISTANCES = ("euclidean", "angular")
COLUMNS = 2048  # photos per product: what comes out of it stays in the cache
SAMPLED = (32, 512)  # queries and photos whose error is measured
SAFETY = 8.0  # times the largest measured error
BYTES = 5  # per distance of a chunk: itself, and a quarter for what comes and goes


@dataclass(frozen=True)
class Side:
    """Features (N, D, 2) as they are, and what is needed to shift or normalise any of them exactly.

    `scale` (N, 2) float64: the factor that normalises, all 1 for Euclidean distances. `square` (N, 2)
    float64: the squared norm after the shift.
    """

    values: np.ndarray
    origin: np.ndarray  # (D,) float32, subtracted from all
    scale: np.ndarray
    square: np.ndarray

    def exact(self, index: np.ndarray | slice) -> np.ndarray:
        """(n, D, 2) float64, shifted and normalised."""
        shifted = self.values[index].astype(np.float64) - self.origin[:, None].astype(np.float64)
        return shifted * self.scale[index][:, None, :]

    def single(self, rows: slice, mirror: int) -> np.ndarray:
        """(n, D) float32, shifted and normalised."""
        shifted = self.values[rows, :, mirror].astype(np.float32) - self.origin
        return shifted * self.scale[rows, mirror, None].astype(np.float32)


def prepared(values: np.ndarray, origin: np.ndarray, kind: str) -> Side:
    """Measure features (N, D, 2) in chunks, so that no second copy of them is made."""
    square = np.empty((len(values), values.shape[2]))
    for first in range(0, len(values), COLUMNS):
        part = values[first : first + COLUMNS].astype(np.float64) - origin[:, None].astype(np.float64)
        square[first : first + COLUMNS] = np.einsum("ndm,ndm->nm", part, part)
    if not np.isfinite(square).all():
        raise ValueError("a distance would be NaN: the features are not finite")
    if kind == "euclidean":
        return Side(values, origin, np.ones_like(square), square)
    scale = 1 / np.sqrt(np.where(square > 0, square, np.inf))  # zeros stay, at a right angle to everything
    return Side(values, origin, scale, np.ones_like(square))


@dataclass(frozen=True)
class Chunk:
    """Distances of some queries to the whole gallery.

    first: number of the first query. near: (q, G) float32 >= 0, within `tolerance` of what `exact` gives.
    """

    first: int
    near: np.ndarray
    tolerance: float
    query: Side
    gallery: Side

    def exact(self, row: int, photos: np.ndarray) -> np.ndarray:
        """Distances (n,) float64 of the query in `row` to `photos` (n,), the smallest over mirrored pairs."""
        return pair_distances(self.query, self.first + row, self.gallery, photos)


def pair_distances(query: Side, index: int, gallery: Side, photos: np.ndarray) -> np.ndarray:
    """Exact distances (n,) float64 between one query and `photos` (n,).

    Sums run over the features of a pair alone, in the same order for all, so that photos with equal features
    are at equal distances.
    """
    one = query.exact(slice(index, index + 1))[0]  # (D, 2)
    many = gallery.exact(photos)  # (n, D, 2)
    products = np.stack([np.einsum("ndm,d->nm", many, one[:, m]) for m in range(one.shape[1])], axis=2)
    squares = gallery.square[photos][:, :, None] + query.square[index]  # (n, 2, 2)
    return np.maximum(squares - 2 * products, 0).min(axis=(1, 2))


def distance_chunks(
    query: np.ndarray, gallery: np.ndarray, kind: str, *, memory: int, device: torch.device | str = "cpu"
) -> Iterator[Chunk]:
    """Distances of all queries to the gallery, chunk by chunk, in order.

    `query` (Q, D, 2) and `gallery` (G, D, 2) float32, in memory or mapped from a file. "euclidean": squared
    Euclidean distances. "angular": 2 - 2 cos of the angle, which orders as the angle does. About `memory`
    bytes are used beside the features; one query at a time at least.
    """
    origin = mean_of(gallery) if kind == "euclidean" else np.zeros(gallery.shape[1], dtype=np.float32)
    sides = prepared(query, origin, kind), prepared(gallery, origin, kind)
    height = max(1, min(len(query), memory // (BYTES * len(gallery))))
    for first in range(0, len(query), height):
        rows = slice(first, min(first + height, len(query)))
        near = nearness(*sides, rows, torch.device(device))
        yield Chunk(first, near, tolerance_of(*sides, rows, near), *sides)


def mean_of(values: np.ndarray) -> np.ndarray:
    """Mean over photos and mirrors, (D,) float32, in chunks."""
    total = np.zeros(values.shape[1])
    for first in range(0, len(values), COLUMNS):
        total += values[first : first + COLUMNS].sum(axis=(0, 2), dtype=np.float64)
    return (total / (len(values) * values.shape[2])).astype(np.float32)


def nearness(query: Side, gallery: Side, rows: slice, device: torch.device) -> np.ndarray:
    """Squared distances (q, G) float32 of the queries `rows`, the smallest over mirrored pairs.

    The squares ride along as two more features, (-2 q, 1, |q|^2) . (g, |g|^2, 1), so that the product is the
    distance.
    """
    mirrors = range(query.values.shape[2])
    left = [augmented(query, rows, mirror, of_query=True).to(device) for mirror in mirrors]  # (q, D + 2)
    near = torch.empty((len(left[0]), len(gallery.values)), dtype=torch.float32, device=device)
    for first in range(0, len(gallery.values), COLUMNS):
        columns = slice(first, first + COLUMNS)
        best = near[:, columns]
        best.fill_(torch.inf)
        for mirror in mirrors:
            right = augmented(gallery, columns, mirror, of_query=False).to(device).T
            for each in left:
                torch.minimum(best, each @ right, out=best)
    return near.clamp_(min=0).cpu().numpy()


def augmented(side: Side, rows: slice, mirror: int, *, of_query: bool) -> Tensor:
    """(n, D + 2) float32: the features of `rows`, and the two columns of the squares."""
    single, square = side.single(rows, mirror), side.square[rows, mirror].astype(np.float32)
    ones = np.ones_like(square)
    parts = (
        (-2 * single, ones[:, None], square[:, None])
        if of_query
        else (single, square[:, None], ones[:, None])
    )
    return torch.from_numpy(np.concatenate(parts, axis=1))


def tolerance_of(query: Side, gallery: Side, rows: slice, near: np.ndarray) -> float:
    """How far `near` may be from the exact distances: several times the largest error of a sample."""
    draw = np.random.default_rng(rows.start)
    chosen = draw.choice(len(near), min(SAMPLED[0], len(near)), replace=False)
    photos = draw.choice(near.shape[1], min(SAMPLED[1], near.shape[1]), replace=False)
    errors = [
        np.abs(pair_distances(query, rows.start + row, gallery, photos) - near[row, photos]).max()
        for row in chosen
    ]
    return SAFETY * max(errors)
