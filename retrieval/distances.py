"""Distances between queries and gallery over mirrored pairs, in float32, with exact ones for close calls.

Most of the work is four matrix products in float32. They are within a small error of the exact distances.
Wherever that error could change the rank of a positive, `ranking.rank_close_calls` asks for the exact
distances, in float64, of the few photos concerned. So the ranking is that of float64 at the cost of float32.

Features are shifted by the gallery's mean first: |q|^2 + |g|^2 - 2 q.g cancels when they lie far from the
origin, and a shift changes no distance.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from utils.errors import Diverged

DISTANCES = ("euclidean", "angular")
PHOTO_BLOCK = 1024  # photos per matrix product: its result fits into the CPU's cache
EXACT_BLOCK = 256  # photos per step in float64: their features fit into the CPU's cache
SAMPLE_SIZES = (64, 4096)  # queries and photos whose error is measured
SAFETY = 2.0  # tolerance as a multiple of the largest error of these 260,000 pairs
BYTES_PER_DISTANCE = 5  # of a chunk: four for the float32, and one for temporary arrays


@dataclass(frozen=True)
class PreparedFeatures:
    """Features (N, D, M) of M mirrors, with what is needed to shift and normalise any of them.

    `values` (N, D, M) float32: the features, neither shifted nor normalised. `by_mirror` (M, N, D): the same
    on the device of the matrix products; on the CPU it shares the memory of `values`. `origin` (D,) float32:
    subtracted from all. `scale` (N, M) float64: the factor that normalises, 1 for Euclidean distances.
    `squared_norm` (N, M) float64: |x|^2 after shift and scale.
    """

    values: np.ndarray
    by_mirror: Tensor
    origin: np.ndarray
    scale: np.ndarray
    squared_norm: np.ndarray

    def rows_float64(self, index: np.ndarray | slice, mirror: int) -> np.ndarray:
        """Shifted and normalised features (n, D) float64 of one mirror."""
        rows = np.subtract(self.values[index, :, mirror], self.origin, dtype=np.float64, order="C")
        rows *= self.scale[index, mirror, None]
        return rows

    def block_float32(self, rows: slice) -> Tensor:
        """(M, n, D + 2) float32 on the device: shifted and normalised features, 1, and the squared norm."""
        features = self.by_mirror[:, rows]
        device = features.device
        mirrors, count, width = features.shape
        scale = torch.from_numpy(self.scale[rows].T.astype(np.float32)).to(device)  # (M, n)
        squared_norm = torch.from_numpy(self.squared_norm[rows].T.astype(np.float32)).to(device)
        block = features.new_empty((mirrors, count, width + 2))
        torch.sub(features, torch.from_numpy(self.origin).to(device), out=block[..., :width])
        block[..., :width] *= scale[..., None]
        block[..., width] = 1
        block[..., width + 1] = squared_norm
        return block


def prepare_features(
    values: np.ndarray, by_mirror: Tensor, origin: np.ndarray, kind: str
) -> PreparedFeatures:
    """Compute the norms of features (N, D, M), block by block, so that no second copy of them is made.

    Raises Diverged if a feature is not finite, or too large for float32 products.
    """
    shift = torch.from_numpy(origin).to(by_mirror.device).double()
    squares = torch.empty(by_mirror.shape[:2], dtype=torch.float64, device=by_mirror.device)
    for first in range(0, by_mirror.shape[1], EXACT_BLOCK):
        part = slice(first, first + EXACT_BLOCK)
        # `out` avoids small results between large temporaries, which keep the allocator from reusing memory
        torch.sum((by_mirror[:, part] - shift).square_(), dim=2, out=squares[:, part])
    squared_norm = squares.T.cpu().numpy()  # (N, M)
    in_range = squared_norm < np.finfo(np.float32).max / 8  # float32 must hold |q|^2 + |g|^2 - 2 q.g
    if not in_range.all():
        # the gallery's mean is NaN if one feature is, and then all norms are: look at the features themselves
        finite = np.isfinite(values).all(axis=(1, 2))
        first_bad = int(np.argmin(in_range.all(axis=1) if finite.all() else finite))
        raise Diverged(
            f"features of image {first_bad} of {len(values)}, counted from 0, are not finite or too large, "
            "so it has no distances: the training diverged, take an earlier step (--pretrained_model)"
        )
    if kind == "euclidean":
        return PreparedFeatures(values, by_mirror, origin, np.ones_like(squared_norm), squared_norm)
    # features of zeros stay zeros, and are at a right angle to everything
    scale = 1 / np.sqrt(np.where(squared_norm > 0, squared_norm, np.inf))
    return PreparedFeatures(values, by_mirror, origin, scale, np.ones_like(squared_norm))


@dataclass(frozen=True)
class Chunk:
    """Distances of some queries to the whole gallery.

    `first`: position of the first query. `approx` (q, G) float32 >= 0: within `tolerance` of what
    `exact_distances` gives. The next chunk overwrites the memory of `approx`.
    """

    first: int
    approx: np.ndarray
    tolerance: float
    query: PreparedFeatures
    gallery: PreparedFeatures

    def exact_distances(self, row: int, photos: np.ndarray) -> np.ndarray:
        """Distances (n,) float64 of the query in `row` to `photos` (n,), the smallest over mirrored pairs."""
        return compute_exact_distances(self.query, self.first + row, self.gallery, photos)


def compute_exact_distances(
    query: PreparedFeatures, index: int, gallery: PreparedFeatures, photos: np.ndarray
) -> np.ndarray:
    """Distances (n,) float64 between query number `index` and `photos` (n,), smallest over mirrored pairs.

    Every sum runs over the features of one pair, in the same order for all pairs, so that photos with equal
    features are at equal distances.
    """
    query_mirrors = range(query.values.shape[2])
    query_rows = [query.rows_float64(slice(index, index + 1), mirror)[0] for mirror in query_mirrors]  # (D,)
    distances = np.full(len(photos), np.inf)
    for first in range(0, len(photos), EXACT_BLOCK):
        part = photos[first : first + EXACT_BLOCK]
        smallest = distances[first : first + EXACT_BLOCK]
        for gallery_mirror in range(gallery.values.shape[2]):
            gallery_rows = gallery.rows_float64(part, gallery_mirror)  # (n, D)
            for query_mirror, query_row in enumerate(query_rows):
                squares = gallery.squared_norm[part, gallery_mirror] + query.squared_norm[index, query_mirror]
                products = np.einsum("nd,d->n", gallery_rows, query_row)
                np.minimum(smallest, squares - 2 * products, out=smallest)
    return np.maximum(distances, 0, out=distances)


def distance_chunks(
    query: np.ndarray, gallery: np.ndarray, kind: str, *, memory: int, device: torch.device | str = "cpu"
) -> Iterator[Chunk]:
    """Distances of all queries to the gallery, chunk by chunk, in order.

    `query` (Q, D, M) and `gallery` (G, D, M) float32, in memory or mapped from a file; fastest where the
    features of one mirror lie together in memory, as `embed` returns them. `kind` "euclidean": squared
    Euclidean distances; "angular": 2 - 2 cos of the angle, which orders as the angle does. Uses about
    `memory` bytes beside the features, or what a single query needs if that is more; on another device than
    the CPU the features are copied to it. Raises Diverged if a feature is not finite.
    """
    yield from distance_chunks_to(prepare_gallery(gallery, kind, device), query, kind, memory=memory)


def distance_chunks_to(
    gallery: PreparedFeatures, query: np.ndarray, kind: str, *, memory: int
) -> Iterator[Chunk]:
    """As `distance_chunks`, to a gallery from `prepare_gallery`, which can be used again."""
    device = gallery.by_mirror.device
    queries = prepare_features(query, move_mirrors_first(query, device), gallery.origin, kind)
    chunk_length = max(1, min(len(query), memory // (BYTES_PER_DISTANCE * len(gallery.values))))
    is_on_gpu = device.type == "cuda"  # a GPU copies to pinned memory fastest
    buffer = torch.empty((chunk_length, len(gallery.values)), pin_memory=is_on_gpu).numpy()
    for first in range(0, len(query), chunk_length):
        rows = slice(first, min(first + chunk_length, len(query)))
        approx = buffer[: rows.stop - first]
        compute_block(queries, gallery, rows, approx)
        yield Chunk(first, approx, measure_tolerance(queries, gallery, rows, approx), queries, gallery)


def prepare_gallery(gallery: np.ndarray, kind: str, device: torch.device | str = "cpu") -> PreparedFeatures:
    """Prepare a gallery (G, D, M): for Euclidean distances it is shifted by its mean, roughly."""
    by_mirror = move_mirrors_first(gallery, torch.device(device))
    origin = np.zeros(gallery.shape[1], dtype=np.float32)
    if kind == "euclidean":  # the mean of about a thousand photos is near enough to the mean of all
        every_nth = -(-len(gallery) // PHOTO_BLOCK)
        origin = by_mirror[:, ::every_nth].mean(dim=(0, 1)).cpu().numpy()
    return prepare_features(gallery, by_mirror, origin, kind)


def move_mirrors_first(values: np.ndarray, device: torch.device) -> Tensor:
    """Features (N, D, M) as (M, N, D) on `device`; on the CPU in the same memory."""
    return torch.from_numpy(values.transpose(2, 0, 1)).to(device)


def compute_block(
    query: PreparedFeatures, gallery: PreparedFeatures, rows: slice, approx: np.ndarray
) -> None:
    """Write the distances (q, G) float32 of the queries `rows` to the gallery into `approx`.

    A distance is the smallest over mirrored pairs. The squared norms are two more features of every vector,
    (-2 q, |q|^2, 1) . (g, 1, |g|^2), so that the matrix product is the squared distance already.
    """
    left = query.block_float32(rows)  # (M, q, D + 2)
    mirrors, count, width = left.shape
    left[..., :-2] *= -2
    left[..., -2:] = left[..., [-1, -2]]  # (1, |q|^2) -> (|q|^2, 1)
    left = left.view(mirrors * count, width)

    result = torch.from_numpy(approx)
    is_on_cpu = left.device.type == "cpu"
    distances = result if is_on_cpu else left.new_empty(result.shape)

    gallery_mirrors = gallery.values.shape[2]
    buffer = left.new_empty((gallery_mirrors, len(left), PHOTO_BLOCK))  # reused by all products
    for first in range(0, len(gallery.values), PHOTO_BLOCK):
        photos = slice(first, min(first + PHOTO_BLOCK, len(gallery.values)))
        right = gallery.block_float32(photos)  # (M', p, D + 2)
        products = buffer[..., : photos.stop - first]  # (M', M q, p)
        for mirror in range(gallery_mirrors):
            torch.mm(left, right[mirror].T, out=products[mirror])
        # (M' M, q, p), one entry per mirrored pair; the minimum is taken in place, as memory sets the speed
        smallest, *others = products.unflatten(1, (mirrors, count)).flatten(0, 1)
        for other in others:
            torch.minimum(smallest, other, out=smallest)
        torch.clamp(smallest, min=0, out=distances[:, photos])
    if not is_on_cpu:
        result.copy_(distances)


def measure_tolerance(
    query: PreparedFeatures, gallery: PreparedFeatures, rows: slice, approx: np.ndarray
) -> float:
    """How far `approx` may be from the exact distances: SAFETY times the largest error of a sample.

    Rounding errors grow with the features, so the longest vectors of both sides are in the sample. The
    tolerance is no less than what float32 resolves.
    """
    rng = np.random.default_rng(rows.start)
    chosen = draw_sample(query.squared_norm[rows], SAMPLE_SIZES[0], rng)
    photos = draw_sample(gallery.squared_norm, SAMPLE_SIZES[1], rng)
    queries = rows.start + chosen
    exact = np.full((len(queries), len(photos)), np.inf)
    for query_mirror in range(query.values.shape[2]):
        for gallery_mirror in range(gallery.values.shape[2]):
            left = query.rows_float64(queries, query_mirror)
            right = gallery.rows_float64(photos, gallery_mirror)
            squares = (
                query.squared_norm[queries, query_mirror, None] + gallery.squared_norm[photos, gallery_mirror]
            )
            np.minimum(exact, squares - 2 * (left @ right.T), out=exact)
    approx_sample = approx[np.ix_(chosen, photos)]
    return SAFETY * float(max(np.abs(exact - approx_sample).max(), np.spacing(approx_sample.max())))


def draw_sample(squared_norm: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """At most `count` positions in `squared_norm` (N, M): an eighth of them the longest, the rest random."""
    count = min(count, len(squared_norm))
    chosen = rng.choice(len(squared_norm), count, replace=False)
    longest = np.argsort(-squared_norm.max(axis=1))[: 1 + count // 8]
    chosen[: len(longest)] = longest
    return chosen
