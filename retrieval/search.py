"""Every query against the whole gallery: rankings for the metrics, and the nearest photos to look at."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch

from retrieval.distances import Chunk, Side, chunks_between, distance_chunks, gallery_side
from retrieval.ranking import Ranking, nearest_photos, rank_close_calls, rank_counts


def feature_rankings(
    query: np.ndarray,
    gallery: np.ndarray,
    query_labels: np.ndarray,
    gallery_labels: np.ndarray,
    kind: str,
    *,
    memory: int,
    device: torch.device | str = "cpu",
) -> Iterator[Ranking]:
    """The ranking of each query, in order, by features (N, D, M) float32 of M mirrors.

    `kind`, `memory` and `device` as in `distance_chunks`. Raises Diverged if a feature is not finite.
    """

    members = members_of(query_labels, gallery_labels)

    def rank(chunk: Chunk, row: int) -> Ranking:
        positives = members[int(query_labels[chunk.first + row])]
        return rank_close_calls(chunk.near[row], positives, chunk.tolerance, partial(chunk.exact, row))

    with ThreadPoolExecutor(cores()) as pool:  # sorting and counting release the interpreter's lock
        for chunk in distance_chunks(query, gallery, kind, memory=memory, device=device):
            yield from pool.map(rank, [chunk] * len(chunk.near), range(len(chunk.near)))


def nearest(
    query: np.ndarray,
    gallery: np.ndarray,
    kind: str,
    top: int,
    *,
    memory: int,
    device: torch.device | str = "cpu",
) -> tuple[np.ndarray, np.ndarray]:
    """The `top` nearest photos of each query: positions (Q, top) and distances (Q, top) float64.

    Nearest first; where distances are equal, the earlier photo first. Distances as in `distance_chunks`.
    """
    return nearest_to(gallery_side(gallery, kind, device), query, kind, top, memory=memory)


def nearest_to(
    gallery: Side, query: np.ndarray, kind: str, top: int, *, memory: int
) -> tuple[np.ndarray, np.ndarray]:
    """As `nearest`, in a gallery that is ready: for one query after the other."""
    top = min(top, len(gallery.values))
    positions = np.empty((len(query), top), dtype=np.int64)
    distances = np.empty((len(query), top))
    for chunk in chunks_between(query, gallery, kind, memory=memory):
        for row, near in enumerate(chunk.near):
            found = nearest_photos(near, top, chunk.tolerance, partial(chunk.exact, row))
            positions[chunk.first + row], distances[chunk.first + row] = found
    return positions, distances


def code_rankings(
    query: np.ndarray, gallery: np.ndarray, query_labels: np.ndarray, gallery_labels: np.ndarray
) -> Iterator[Ranking]:
    """The ranking of each query, in order, by Hamming distance between codes (N, L) of bits, 0 or 1.

    There are only L + 1 distances: photos and positives at each are counted, nothing is sorted.
    """
    length = query.shape[1]
    left, right = packed(query), packed(gallery)
    members = members_of(query_labels, gallery_labels)

    def rank(row: int) -> Ranking:
        distances = hamming_distances(right, [word[row] for word in left])
        photos = np.bincount(distances, minlength=length + 1)
        positives = distances[members[int(query_labels[row])]]
        return rank_counts(photos, np.bincount(positives, minlength=length + 1))

    with ThreadPoolExecutor(cores()) as pool:
        yield from pool.map(rank, range(len(query)))


def members_of(query_labels: np.ndarray, gallery_labels: np.ndarray) -> dict[int, np.ndarray]:
    """The positions of the photos of every label that a query has, ascending."""
    return {label: np.flatnonzero(gallery_labels == label) for label in set(query_labels.tolist())}


def hamming_distances(words: list[np.ndarray], code: list[np.uint64]) -> np.ndarray:
    """Bits (G,) uint16 in which the codes `words`, as `packed` gives them, differ from one code."""
    distances = np.zeros(len(words[0]), dtype=np.uint16)
    for theirs, mine in zip(words, code, strict=True):
        distances += np.bitwise_count(theirs ^ mine)
    return distances


def packed(bits: np.ndarray) -> list[np.ndarray]:
    """Codes (N, L) of bits as arrays (N,) uint64 of 64 bits each, the last one filled up with zeros."""
    padded = np.zeros((len(bits), -(-bits.shape[1] // 64) * 64), dtype=np.uint8)
    padded[:, : bits.shape[1]] = bits
    words = np.packbits(padded, axis=1).view(np.uint64)
    return [np.ascontiguousarray(words[:, index]) for index in range(words.shape[1])]


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
