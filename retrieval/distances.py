"""Distances between queries and gallery over mirrored pairs, exact and in chunks (SPEC section 4).

Everything is computed in float64: the ranking is that of a brute-force computation, and no two photos
change places because of rounding in float32. The cost is two times that of float32 products on a CPU.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

DISTANCES = ("euclidean", "angular")
BYTES = 8  # of a float64


def pair_distances(query: Tensor, gallery: Tensor, kind: str) -> Tensor:
    """(Q, D, 2), (G, D, 2) float64 -> (Q, G) float64, the smallest over the four mirror combinations.

    "euclidean": the squared Euclidean distance. "angular": arccos of the cosine, in [0, pi]; a feature
    vector of zeros has cosine 0 with everything.
    """
    if kind == "angular":
        query, gallery = (torch.nn.functional.normalize(side, dim=1) for side in (query, gallery))
    best: Tensor | None = None
    for q in query.unbind(-1):  # (Q, D)
        for g in gallery.unbind(-1):  # (G, D)
            product = q @ g.T  # (Q, G)
            if kind == "euclidean":
                product.mul_(-2).add_(q.square().sum(1, keepdim=True)).add_(g.square().sum(1))
            else:
                product.neg_()
            best = product if best is None else torch.minimum(best, product, out=best)
    assert best is not None
    if kind == "euclidean":
        return best.clamp_(min=0)
    return best.neg_().clamp_(-1, 1).arccos_()  # arccos falls: the largest cosine is the smallest angle


def distance_rows(
    query: np.ndarray, gallery: np.ndarray, kind: str, *, memory: int, device: torch.device | str = "cpu"
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (first query, distances (q, G) float64) for chunks of queries, in order.

    `query` (Q, D, 2) and `gallery` (G, D, 2) are float32 or float64. About `memory` bytes are used beside
    them; at least one query and some gallery rows are taken at a time, however small it is.
    """
    count, dim = len(gallery), gallery.shape[1]
    # half for queries: their features in float64, normalised, one mirror alone and squared, and whole rows of
    # distances, three times, since the last chunk may still be in use; half for gallery chunks, and products
    rows = max(1, min(len(query), memory // 2 // (BYTES * (12 * dim + 3 * count))))
    columns = max(1, min(count, memory // 2 // (BYTES * (12 * dim + 3 * rows))))
    for first in range(0, len(query), rows):
        chunk = as_float64(query[first : first + rows], device)
        distances = np.empty((len(chunk), count))
        for start in range(0, count, columns):
            part = as_float64(gallery[start : start + columns], device)
            distances[:, start : start + columns] = pair_distances(chunk, part, kind).cpu().numpy()
        yield first, distances


def as_float64(features: np.ndarray, device: torch.device | str) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(features)).to(device, torch.float64)


def hamming_rows(query: np.ndarray, gallery: np.ndarray, *, memory: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (first query, Hamming distances (q, G) float32) for chunks of queries, in order.

    `query` (Q, L) and `gallery` (G, L) hold bits, 0 or 1. Exact: a float32 product of up to 2^24 signs is.
    `memory` bounds the rows; the codes as float32 come on top.
    """
    length = query.shape[1]
    signs = [torch.from_numpy(np.asarray(bits, dtype=np.float32)) * 2 - 1 for bits in (query, gallery)]
    rows = max(1, memory // (3 * 4 * len(gallery)))
    for first in range(0, len(query), rows):
        agreement = signs[0][first : first + rows] @ signs[1].T
        yield first, agreement.neg_().add_(length).div_(2).numpy()
