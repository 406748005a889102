"""Every query against the whole gallery: rankings for the metrics, and the nearest photos to look at."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch

from retrieval.distances import Chunk, PreparedFeatures, distance_chunks, distance_chunks_to, prepare_gallery
from retrieval.ranking import Ranking, rank_close_calls, rank_from_counts, select_nearest


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

    positions = positions_by_label(query_labels, gallery_labels)

    def rank(chunk: Chunk, row: int) -> Ranking:
        positives = positions[int(query_labels[chunk.first + row])]
        exact = partial(chunk.exact_distances, row)
        return rank_close_calls(chunk.approx[row], positives, chunk.tolerance, exact)

    with ThreadPoolExecutor(count_cores()) as pool:  # NumPy releases the interpreter's lock while it sorts
        for chunk in distance_chunks(query, gallery, kind, memory=memory, device=device):
            rows = range(len(chunk.approx))
            yield from pool.map(partial(rank, chunk), rows)


def find_nearest(
    query: np.ndarray,
    gallery: np.ndarray,
    kind: str,
    top: int,
    *,
    memory: int,
    device: torch.device | str = "cpu",
) -> tuple[np.ndarray, np.ndarray]:
    """The `top` nearest photos of each query: positions (Q, top) int64 and distances (Q, top) float64.

    `top` is at most the size of the gallery. Nearest first; where distances are equal, the earlier photo
    first. Features and distances as in `distance_chunks`.
    """
    return find_nearest_in(prepare_gallery(gallery, kind, device), query, kind, top, memory=memory)


def find_nearest_in(
    gallery: PreparedFeatures, query: np.ndarray, kind: str, top: int, *, memory: int
) -> tuple[np.ndarray, np.ndarray]:
    """As `find_nearest`, in a gallery from `prepare_gallery`, which can be used again."""
    top = min(top, len(gallery.values))
    positions = np.empty((len(query), top), dtype=np.int64)
    distances = np.empty((len(query), top))
    for chunk in distance_chunks_to(gallery, query, kind, memory=memory):
        for row, approx in enumerate(chunk.approx):
            exact = partial(chunk.exact_distances, row)
            index = chunk.first + row
            positions[index], distances[index] = select_nearest(approx, top, chunk.tolerance, exact)
    return positions, distances


def code_rankings(
    query: np.ndarray, gallery: np.ndarray, query_labels: np.ndarray, gallery_labels: np.ndarray
) -> Iterator[Ranking]:
    """The ranking of each query, in order, by Hamming distance between codes (N, L) of bits, 0 or 1.

    There are only L + 1 distances: photos and positives at each are counted, nothing is sorted.
    """
    length = query.shape[1]
    query_words, gallery_words = pack_bits(query), pack_bits(gallery)
    positions = positions_by_label(query_labels, gallery_labels)

    def rank(row: int) -> Ranking:
        distances = hamming_distances(gallery_words, [word[row] for word in query_words])
        photos = np.bincount(distances, minlength=length + 1)
        positive_distances = distances[positions[int(query_labels[row])]]
        return rank_from_counts(photos, np.bincount(positive_distances, minlength=length + 1))

    with ThreadPoolExecutor(count_cores()) as pool:
        yield from pool.map(rank, range(len(query)))


def positions_by_label(query_labels: np.ndarray, gallery_labels: np.ndarray) -> dict[int, np.ndarray]:
    """For every label of a query: the positions of the photos of that label, ascending."""
    return {label: np.flatnonzero(gallery_labels == label) for label in set(query_labels.tolist())}


def hamming_distances(words: list[np.ndarray], code: list[np.uint64]) -> np.ndarray:
    """(G,) uint16: in how many bits the codes `words`, from `pack_bits`, differ from one `code`."""
    distances = np.zeros(len(words[0]), dtype=np.uint16)
    for gallery_word, query_word in zip(words, code, strict=True):
        distances += np.bitwise_count(gallery_word ^ query_word)
    return distances


def pack_bits(bits: np.ndarray) -> list[np.ndarray]:
    """Codes (N, L) of bits as arrays (N,) uint64 of 64 bits each, the last one padded with zeros."""
    padded = np.zeros((len(bits), -(-bits.shape[1] // 64) * 64), dtype=np.uint8)
    padded[:, : bits.shape[1]] = bits
    words = np.packbits(padded, axis=1).view(np.uint64)
    return [np.ascontiguousarray(words[:, index]) for index in range(words.shape[1])]


def count_cores() -> int:
    """Number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
