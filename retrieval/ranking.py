"""Where the positives of a query stand among the photos: what every metric is computed from.

Photos at the same distance have no order, so a ranking is a sequence of groups of equal distance, most of
them of a single photo. Three ways lead to it: from distances as they are; from distances in float32 whose
close calls are decided in float64, so that the ranking is that of float64; and from hash codes, whose few
different distances are counted.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Exact = Callable[[np.ndarray], np.ndarray]  # gallery positions (n,) -> distances (n,) float64


@dataclass(frozen=True)
class Ranking:
    """The groups that hold positives, nearest first; ranks count from 0. Arrays are (groups,) integers."""

    before: np.ndarray  # photos nearer than the group
    size: np.ndarray  # photos in the group
    hits_before: np.ndarray  # positives nearer than the group
    hits: np.ndarray  # positives in the group, 1 or more
    total: int  # photos in the gallery

    @property
    def positives(self) -> int:
        return int(self.hits.sum())


def from_groups(before: np.ndarray, size: np.ndarray, hits: np.ndarray, total: int) -> Ranking:
    return Ranking(before, size, np.cumsum(hits) - hits, hits, total)


def rank_positives(distances: np.ndarray, positive: np.ndarray) -> Ranking:
    """`distances` (G,) without NaN, `positive` (G,) bool -> where the positives stand.

    A sort of the distances and two binary searches per positive: no argsort, no pass over the gallery.
    """
    ordered = np.sort(distances)
    values, hits = np.unique(distances[positive], return_counts=True)
    before, end = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    return from_groups(before, end - before, hits, len(distances))


def rank_counts(photos: np.ndarray, positives: np.ndarray) -> Ranking:
    """From how many photos and positives there are at each distance, nearest first, both (distances,)."""
    held = np.flatnonzero(positives)
    before = np.cumsum(photos) - photos
    return from_groups(before[held], photos[held], positives[held], int(photos.sum()))


def rank_close_calls(near: np.ndarray, positives: np.ndarray, tolerance: float, exact: Exact) -> Ranking:
    """The ranking by `exact`, most of it read off `near` (G,) float32 >= 0, within `tolerance` of it.

    `positives` (P,) are the positions of the positive photos, ascending.
    A photo can change places with a positive only if the two are within two tolerances in `near`. Around
    each positive there is such a window of ranks. Windows that hold another photo are joined where they
    overlap, and the photos in them are ordered by their exact distances, all at once: a positive is farther
    than every photo of an earlier window, and nearer than every photo of a later one.
    """
    keys = sorted_keys(near)
    found = np.sort(near[positives]).astype(np.float64)
    low = np.searchsorted(keys, floor_keys(found - 2 * tolerance), "left")
    high = np.searchsorted(keys, ceiling_keys(found + 2 * tolerance), "right")
    alone = high - low == 1
    first, end = joined(low[~alone], high[~alone])
    settled = low[alone]
    settled = settled[~inside(settled, first, end)]
    ranks = ranges(first, end)
    photos = (keys[ranks] & POSITION).astype(np.int64)
    close = rank_positives(exact(photos), among(photos, positives)) if len(photos) else NOTHING
    # a rank among the photos of all windows -> the rank in the gallery
    taken = np.cumsum(end - first) - (end - first)
    window = np.searchsorted(taken, close.before, "right") - 1
    before = np.concatenate([settled, close.before + (first - taken)[window]])
    order = np.argsort(before)
    ones = np.ones(len(settled), dtype=np.int64)
    size, hits = (np.concatenate([ones, each])[order] for each in (close.size, close.hits))
    return from_groups(before[order], size, hits, len(near))


def nearest_photos(
    near: np.ndarray, top: int, tolerance: float, exact: Exact
) -> tuple[np.ndarray, np.ndarray]:
    """Positions and exact distances, both (top,), of the nearest photos; the earlier first where they tie.

    `near` (G,) is within `tolerance` of `exact`; 1 <= top <= G.
    """
    threshold = np.float64(np.partition(near, top - 1)[top - 1]) + 2 * tolerance
    candidates = np.flatnonzero(near <= threshold)
    distances = exact(candidates)
    order = np.argsort(distances, kind="stable")[:top]
    return candidates[order], distances[order]


NONE = np.zeros(0, dtype=np.int64)
NOTHING = Ranking(NONE, NONE, NONE, NONE, total=0)
POSITION = np.uint64(0xFFFFFFFF)


def sorted_keys(near: np.ndarray) -> np.ndarray:
    """Distances (G,) float32 >= 0 with their positions, as sorted uint64: faster than an argsort.

    The bits of floats that are not negative order as the floats do; they come first, the position last.
    """
    keys = near.view(np.uint32).astype(np.uint64) << np.uint64(32)
    keys |= np.arange(len(near), dtype=np.uint64)
    keys.sort()
    return keys


def floor_keys(values: np.ndarray) -> np.ndarray:
    """Keys at or below those of all photos at `values` float64 or more."""
    rounded = np.nextafter(values.astype(np.float32), np.float32(-np.inf))
    return np.maximum(rounded, np.float32(0)).view(np.uint32).astype(np.uint64) << np.uint64(32)


def ceiling_keys(values: np.ndarray) -> np.ndarray:
    """Keys at or above those of all photos at `values` float64 >= 0 or less."""
    rounded = np.nextafter(values.astype(np.float32), np.float32(np.inf))
    return (rounded.view(np.uint32).astype(np.uint64) << np.uint64(32)) | POSITION


def joined(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ranges [low, high), both ascending, joined where they overlap."""
    if not len(low):
        return low, high
    start = np.r_[True, low[1:] >= high[:-1]]
    return low[start], high[np.r_[start[1:], True]]


def among(values: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Which of `values` are in `members`, ascending and not empty, as bool."""
    place = np.searchsorted(members, values)
    return members[np.minimum(place, len(members) - 1)] == values


def inside(ranks: np.ndarray, first: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Which of `ranks` lie in one of the disjoint ascending ranges [first, end), as bool."""
    return np.searchsorted(first, ranks, "right") > np.searchsorted(end, ranks, "right")


def ranges(first: np.ndarray, end: np.ndarray) -> np.ndarray:
    """All integers of the ranges [first, end), one range after the other."""
    length = end - first
    return np.repeat(first - (np.cumsum(length) - length), length) + np.arange(length.sum())
