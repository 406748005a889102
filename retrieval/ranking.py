"""Where the positives of a query stand among the photos: what every metric is computed from.

Photos at the same distance have no order, so a ranking is a sequence of groups of equal distance, most of
them of a single photo. There are three ways to compute it: from distances as they are; from approximate
distances in float32, where close calls are decided in float64, so that the ranking is that of float64; and
from hash codes, whose few different distances are counted.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

ExactDistances = Callable[[np.ndarray], np.ndarray]  # gallery positions (n,) -> distances (n,) float64


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

    @classmethod
    def from_groups(cls, before: np.ndarray, size: np.ndarray, hits: np.ndarray, total: int) -> "Ranking":
        """The ranking of groups in ascending order; `hits_before` is computed."""
        return cls(before, size, np.cumsum(hits) - hits, hits, total)


def rank_positives(distances: np.ndarray, is_positive: np.ndarray) -> Ranking:
    """Rank the positives by `distances` (G,) without NaN; `is_positive` (G,) bool.

    A sort of the distances and two binary searches per positive: no argsort, no pass over the gallery.
    """
    ordered = np.sort(distances)
    values, hits = np.unique(distances[is_positive], return_counts=True)
    before = np.searchsorted(ordered, values, "left")
    end = np.searchsorted(ordered, values, "right")
    return Ranking.from_groups(before, end - before, hits, len(distances))


def rank_from_counts(photos: np.ndarray, positives: np.ndarray) -> Ranking:
    """Rank by the numbers of photos and of positives at each distance, nearest first, both (distances,)."""
    with_positives = np.flatnonzero(positives)
    before = np.cumsum(photos) - photos
    return Ranking.from_groups(
        before[with_positives], photos[with_positives], positives[with_positives], int(photos.sum())
    )


def rank_close_calls(
    approx: np.ndarray, positives: np.ndarray, tolerance: float, exact: ExactDistances
) -> Ranking:
    """The ranking by `exact`, most of it read off `approx` (G,) float32 >= 0, within `tolerance` of it.

    `positives` (P,) are the positions of the positive photos, ascending.

    Two photos can change places only if they are within two tolerances in `approx`. So around each positive
    there is a window of ranks that it may have:
    1. A positive that is alone in its window, and in no other window, has its rank.
    2. Windows with several photos are merged where they overlap. All photos in them are ranked by their exact
       distances at once: every photo of a window is nearer than every photo of a later window.
    3. Ranks among those photos become ranks in the gallery, and both kinds are put in order.
    """
    keys = sort_keys(approx)
    values = np.sort(approx[positives]).astype(np.float64)
    low = np.searchsorted(keys, floor_keys(values - 2 * tolerance), "left")
    high = np.searchsorted(keys, ceiling_keys(values + 2 * tolerance), "right")

    is_alone = high - low == 1
    start, end = merge_overlapping(low[~is_alone], high[~is_alone])
    settled_ranks = low[is_alone]
    settled_ranks = settled_ranks[~is_in_ranges(settled_ranks, start, end)]

    window_ranks = expand_ranges(start, end)
    photos = (keys[window_ranks] & POSITION_MASK).astype(np.int64)
    close = EMPTY_RANKING
    if len(photos):
        close = rank_positives(exact(photos), is_member(photos, positives))

    # photos of all windows before each window; so many of the ranks in `close` come before it
    photos_before_window = np.cumsum(end - start) - (end - start)
    window = np.searchsorted(photos_before_window, close.before, "right") - 1
    close_ranks = start[window] + (close.before - photos_before_window[window])

    ones = np.ones(len(settled_ranks), dtype=np.int64)
    before = np.concatenate([settled_ranks, close_ranks])
    size = np.concatenate([ones, close.size])
    hits = np.concatenate([ones, close.hits])
    order = np.argsort(before)
    return Ranking.from_groups(before[order], size[order], hits[order], len(approx))


def select_nearest(
    approx: np.ndarray, top: int, tolerance: float, exact: ExactDistances
) -> tuple[np.ndarray, np.ndarray]:
    """Positions int64 and exact distances float64, both (top,), of the nearest photos, nearest first.

    Where distances are equal, the earlier photo comes first. `approx` (G,) is within `tolerance` of `exact`;
    1 <= top <= G.
    """
    threshold = np.float64(np.partition(approx, top - 1)[top - 1]) + 2 * tolerance
    candidates = np.flatnonzero(approx <= threshold)
    distances = exact(candidates)
    order = np.argsort(distances, kind="stable")[:top]
    return candidates[order], distances[order]


NO_POSITIONS = np.zeros(0, dtype=np.int64)
EMPTY_RANKING = Ranking(NO_POSITIONS, NO_POSITIONS, NO_POSITIONS, NO_POSITIONS, total=0)
POSITION_MASK = np.uint64(0xFFFFFFFF)


def sort_keys(approx: np.ndarray) -> np.ndarray:
    """Distances (G,) float32 >= 0 with their positions, as sorted uint64: faster than an argsort.

    A key is the bits of a distance, then its position in the lower 32 bits. The bits of floats that are not
    negative order as the floats do.
    """
    keys = approx.view(np.uint32).astype(np.uint64) << np.uint64(32)
    keys |= np.arange(len(approx), dtype=np.uint64)
    keys.sort()
    return keys


def floor_keys(values: np.ndarray) -> np.ndarray:
    """Keys that are no larger than the key of any photo at a distance of `values` float64 or more."""
    rounded_down = np.nextafter(values.astype(np.float32), np.float32(-np.inf))
    return np.maximum(rounded_down, np.float32(0)).view(np.uint32).astype(np.uint64) << np.uint64(32)


def ceiling_keys(values: np.ndarray) -> np.ndarray:
    """Keys that are no smaller than the key of any photo at a distance of `values` float64 >= 0 or less."""
    rounded_up = np.nextafter(values.astype(np.float32), np.float32(np.inf))
    return (rounded_up.view(np.uint32).astype(np.uint64) << np.uint64(32)) | POSITION_MASK


def merge_overlapping(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ranges [low, high), both ascending, with those that overlap merged into one."""
    if not len(low):
        return low, high
    starts_new_range = np.concatenate([[True], low[1:] >= high[:-1]])
    ends_range = np.concatenate([starts_new_range[1:], [True]])
    return low[starts_new_range], high[ends_range]


def is_member(values: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Which of `values` are in `members`, which are ascending and not empty; bool."""
    index = np.searchsorted(members, values)
    return members[np.minimum(index, len(members) - 1)] == values


def is_in_ranges(ranks: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Which of `ranks` lie in one of the disjoint ascending ranges [start, end); bool."""
    return np.searchsorted(start, ranks, "right") > np.searchsorted(end, ranks, "right")


def expand_ranges(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """All integers of the ranges [start, end), one range after the other."""
    length = end - start
    return np.repeat(start - (np.cumsum(length) - length), length) + np.arange(length.sum())
