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

from utils.errors import Diverged

DISTANCES = ("euclidean", "angular")
COLUMNS = 1024  # photos per product: what comes out of it stays in the cache
SAMPLED = (64, 4096)  # queries and photos whose error is measured
SAFETY = 2.0  # times the largest error of these 260,000 pairs, the longest features among them
BYTES = 5  # per distance of a chunk: itself, and a quarter for what comes and goes
GATHERED = 256  # photos at a time whose exact distances are taken: their features stay in the cache


@dataclass(frozen=True)
class Side:
    """Features (N, D, M) of M mirrors as they are, and what it takes to shift or normalise any of them.

    `planes`: the same numbers as (M, N, D), on the device of the products; on the CPU in the same memory.
    `scale` (N, M) float64: the factor that normalises, all 1 for Euclidean distances. `square` (N, M)
    float64: the squared norm after the shift.
    """

    values: np.ndarray
    planes: Tensor
    origin: np.ndarray  # (D,) float32, subtracted from all
    scale: np.ndarray
    square: np.ndarray

    def exact(self, index: np.ndarray | slice, mirror: int) -> np.ndarray:
        """(n, D) float64, shifted and normalised."""
        shifted = np.subtract(self.values[index, :, mirror], self.origin, dtype=np.float64, order="C")
        shifted *= self.scale[index, mirror, None]
        return shifted

    def single(self, rows: slice) -> Tensor:
        """(M, n, D + 2) float32 on the device: shifted and normalised, then 1 and the squared norm."""
        planes, device = self.planes[:, rows], self.planes.device
        single = planes.new_empty((*planes.shape[:2], planes.shape[2] + 2))
        scale, square = (
            torch.from_numpy(each[rows].T.astype(np.float32)).to(device) for each in (self.scale, self.square)
        )
        torch.sub(planes, torch.from_numpy(self.origin).to(device), out=single[..., :-2])
        single[..., :-2] *= scale[..., None]
        single[..., -2] = 1
        single[..., -1] = square
        return single


def prepared(values: np.ndarray, planes: Tensor, origin: np.ndarray, kind: str) -> Side:
    """Measure features (N, D, M) in chunks, so that no second copy of them is made."""
    shift = torch.from_numpy(origin).to(planes.device).double()
    squares = torch.empty(planes.shape[:2], dtype=torch.float64, device=planes.device)
    for first in range(0, planes.shape[1], GATHERED):
        part = slice(first, first + GATHERED)
        # straight into place: small results between large temporaries would keep their memory from reuse
        torch.sum((planes[:, part] - shift).square_(), dim=2, out=squares[:, part])
    square = squares.T.cpu().numpy()  # (N, M)
    usual = square < np.finfo(np.float32).max / 8  # sums of two, and the products, are in float32
    if not usual.all():
        finite = np.isfinite(values).all(axis=(1, 2))  # one that is not leaves no square finite
        first = int(np.argmin(usual.all(axis=1) if finite.all() else finite))
        raise Diverged(
            f"features of image {first} of {len(values)}, counted from 0, are not finite or too large, "
            "so it has no distances: the training diverged, take an earlier step (--pretrained_model)"
        )
    if kind == "euclidean":
        return Side(values, planes, origin, np.ones_like(square), square)
    scale = 1 / np.sqrt(np.where(square > 0, square, np.inf))  # zeros stay, at a right angle to everything
    return Side(values, planes, origin, scale, np.ones_like(square))


@dataclass(frozen=True)
class Chunk:
    """Distances of some queries to the whole gallery.

    first: number of the first query. near: (q, G) float32 >= 0, within `tolerance` of what `exact` gives;
    the memory of the next chunk, so that it is lost when that is asked for.
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
    mirrors = range(query.values.shape[2])
    ones = [query.exact(slice(index, index + 1), mirror)[0] for mirror in mirrors]  # (D,) each
    found = np.full(len(photos), np.inf)
    for first in range(0, len(photos), GATHERED):
        part = photos[first : first + GATHERED]
        best = found[first : first + GATHERED]
        for theirs in range(gallery.values.shape[2]):
            many = gallery.exact(part, theirs)  # (n, D)
            for mine, one in enumerate(ones):
                squares = gallery.square[part, theirs] + query.square[index, mine]
                np.minimum(best, squares - 2 * np.einsum("nd,d->n", many, one), out=best)
    return np.maximum(found, 0, out=found)


def distance_chunks(
    query: np.ndarray, gallery: np.ndarray, kind: str, *, memory: int, device: torch.device | str = "cpu"
) -> Iterator[Chunk]:
    """Distances of all queries to the gallery, chunk by chunk, in order.

    `query` (Q, D, M) and `gallery` (G, D, M) float32, in memory or mapped from a file; fastest where the
    features of one mirror lie together, as `embed` makes them. "euclidean": squared Euclidean distances.
    "angular": 2 - 2 cos of the angle, which orders as the angle does. About `memory` bytes are used beside
    the features, one query at a time at least; on another device than the CPU the features are copied to it.
    """
    yield from chunks_between(query, gallery_side(gallery, kind, device), kind, memory=memory)


def chunks_between(query: np.ndarray, gallery: Side, kind: str, *, memory: int) -> Iterator[Chunk]:
    """As `distance_chunks`, to a gallery that was made ready by `gallery_side`, for one query or many."""
    device = gallery.planes.device
    side = prepared(query, planes_of(query, device), gallery.origin, kind)
    height = max(1, min(len(query), memory // (BYTES * len(gallery.values))))
    on_gpu = device.type == "cuda"  # pinned memory is what it writes to fastest
    kept = torch.empty((height, len(gallery.values)), pin_memory=on_gpu).numpy()
    for first in range(0, len(query), height):
        rows = slice(first, min(first + height, len(query)))
        near = kept[: rows.stop - first]
        fill(side, gallery, rows, near)
        yield Chunk(first, near, tolerance_of(side, gallery, rows, near), side, gallery)


def gallery_side(gallery: np.ndarray, kind: str, device: torch.device | str = "cpu") -> Side:
    """A gallery (G, D, M), shifted by its mean over photos and mirrors unless directions are compared."""
    planes = planes_of(gallery, torch.device(device))
    origin = np.zeros(gallery.shape[1], dtype=np.float32)
    if kind == "euclidean":  # the middle of some is near enough to the middle of all
        origin = planes[:, :: -(-len(gallery) // COLUMNS)].mean(dim=(0, 1)).cpu().numpy()
    return prepared(gallery, planes, origin, kind)


def planes_of(values: np.ndarray, device: torch.device) -> Tensor:
    """Features (N, D, M) as (M, N, D) on `device`, on the CPU in the same memory."""
    return torch.from_numpy(values.transpose(2, 0, 1)).to(device)


def fill(query: Side, gallery: Side, rows: slice, near: np.ndarray) -> None:
    """Write the squared distances (q, G) of the queries `rows`, the smallest over mirrored pairs, to `near`.

    The squares ride along as two more features, (-2 q, |q|^2, 1) . (g, 1, |g|^2), so that the product is the
    distance.
    """
    left = query.single(rows)  # (M, q, D + 2)
    left[..., :-2] *= -2
    left[..., -2:] = left[..., [-1, -2]]
    wanted = torch.from_numpy(near)
    found = wanted if left.device.type == "cpu" else left.new_empty(wanted.shape)
    mirrors, count, width = left.shape
    left = left.view(mirrors * count, width)
    pairs = left.new_empty((gallery.values.shape[2], len(left), COLUMNS))  # one memory for all products
    for first in range(0, len(gallery.values), COLUMNS):
        columns = slice(first, min(first + COLUMNS, len(gallery.values)))
        products = pairs[..., : columns.stop - first]
        for right, into in zip(gallery.single(columns), products, strict=True):
            torch.mm(left, right.T, out=into)
        best, *others = products.unflatten(1, (mirrors, count)).flatten(0, 1)  # in place: memory is the rest
        for other in others:
            torch.minimum(best, other, out=best)
        torch.clamp(best, min=0, out=found[:, columns])
    if found is not wanted:
        wanted.copy_(found)


def tolerance_of(query: Side, gallery: Side, rows: slice, near: np.ndarray) -> float:
    """How far `near` may be from the exact distances: some times the largest error of a sample.

    Rounding grows with the features, so the longest of both sides are in the sample; and it is no less than
    float32 resolves.
    """
    draw = np.random.default_rng(rows.start)
    chosen = sample(query.square[rows], SAMPLED[0], draw)
    photos = sample(gallery.square, SAMPLED[1], draw)
    exact = np.full((len(chosen), len(photos)), np.inf)
    for mine in range(query.values.shape[2]):
        for theirs in range(gallery.values.shape[2]):
            products = query.exact(rows.start + chosen, mine) @ gallery.exact(photos, theirs).T
            squares = query.square[rows.start + chosen, mine, None] + gallery.square[photos, theirs]
            np.minimum(exact, squares - 2 * products, out=exact)
    found = near[np.ix_(chosen, photos)]
    return SAFETY * float(max(np.abs(exact - found).max(), np.spacing(found.max())))


def sample(square: np.ndarray, count: int, draw: np.random.Generator) -> np.ndarray:
    """At most `count` positions among those of `square` (N, M): an eighth the largest, the others drawn."""
    count = min(count, len(square))
    chosen = draw.choice(len(square), count, replace=False)
    largest = np.argsort(-square.max(axis=1))[: 1 + count // 8]
    chosen[: len(largest)] = largest
    return chosen
