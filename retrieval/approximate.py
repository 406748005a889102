"""Indices that look at likely photos alone (FAISS), and the exact distances of those they propose.

Both hold every view of a photo, as is and mirrored, as a vector of its own, and are asked for the
neighbours of every view of the query. What they propose is a short list; its distances are taken from the
features, exactly, so that only which photos are looked at is approximate.

hnsw   a graph of neighbours over whole features (Malkov and Yashunin, TPAMI 2020): large and fast
ivfpq  inverted lists of product-quantised features (Jegou, Douze and Schmid, TPAMI 2011): an eighth of a byte
       a feature, for galleries whose features do not fit into memory
"""

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.hashing import normalised
from retrieval.search import nearest
from utils.errors import UserError
from utils.optional import import_optional

SHORT_LIST = 100  # neighbours asked for, at least; ten for each photo that is wanted
LINKS, BUILD_EFFORT = 32, 80  # of hnsw: neighbours of a vector, and candidates looked at while it is added
PROBED = 16  # of ivfpq: one list in so many is looked at, eight at least, more for long results
FEATURES_PER_BYTE, CENTROIDS = 8, 256
TRAINING = 100_000  # vectors that lists and codes are learned from, at most
BLOCK = 8192  # photos added at a time


@dataclass(frozen=True)
class Approximate:
    """`index`: FAISS's, over M views of G photos, view m of photo g at m G + g. `values`: (G, D, M)."""

    index: Any
    values: np.ndarray
    kind: str
    nbytes: int  # of its file, which `values` are not in

    def nearest(self, query: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
        """See `retrieval.INDICES`; fewer than `top` only where fewer were proposed."""
        count = min(max(SHORT_LIST, 10 * top), self.index.ntotal)
        _, found = self.index.search(views(query[None], self.kind), count, params=self.effort(count))
        photos = np.unique(found[found >= 0] % len(self.values))
        if not len(photos):
            return photos, np.zeros(0)
        positions, distances = nearest(query[None], self.values[photos], self.kind, top, memory=1)
        return photos[positions[0]], distances[0]

    def effort(self, count: int) -> Any:
        """How far FAISS looks for so many neighbours."""
        faiss = import_faiss()
        if isinstance(self.index, faiss.IndexHNSW):
            return faiss.SearchParametersHNSW(efSearch=max(2 * LINKS, count))
        lists = self.index.nlist
        enough = math.ceil(2 * lists * count / self.index.ntotal)  # lists that hold twice as many
        return faiss.SearchParametersIVF(nprobe=min(lists, max(8, lists // PROBED, enough)))


def build(name: str, gallery: np.ndarray, kind: str, path: Path, *, seed: int = 0) -> None:
    """Write the index `name` over features (G, D, M) float32 to a new file at `path`.

    Raises UserError if FAISS is not installed, or if `ivfpq` has too few photos to learn from.
    """
    faiss = import_faiss()
    _, width, mirrors = gallery.shape
    if name == "hnsw":
        index = faiss.IndexHNSWFlat(width, LINKS)
        index.hnsw.efConstruction = BUILD_EFFORT
    else:
        index = trained_ivfpq(gallery, kind, seed)
    for mirror in range(mirrors):
        for first in range(0, len(gallery), BLOCK):
            index.add(views(gallery[first : first + BLOCK, :, mirror, None], kind))
    with path.open("wb") as file:  # by a callback, for FAISS's own files tell nobody which error it was
        faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))


def trained_ivfpq(gallery: np.ndarray, kind: str, seed: int) -> Any:
    """An inverted file without photos, its lists and codes learned from some of `gallery`."""
    faiss = import_faiss()
    count, width, mirrors = gallery.shape
    if count * mirrors < CENTROIDS:
        raise UserError(
            f"--index=ivfpq learns from {CENTROIDS} features at least, and {count} photos have "
            f"{count * mirrors}; take --index=flat, which is fast there"
        )
    parts = max(n for n in range(1, max(1, width // FEATURES_PER_BYTE) + 1) if width % n == 0)
    lists = max(1, min(int(4 * math.sqrt(count * mirrors)), count * mirrors // 39))
    index = faiss.IndexIVFPQ(faiss.IndexFlatL2(width), width, lists, parts, 8)
    index.cp.min_points_per_centroid = index.pq.cp.min_points_per_centroid = 1  # else a warning: on stderr
    chosen = np.random.default_rng(seed).permutation(count)[: TRAINING // mirrors]
    index.train(views(gallery[np.sort(chosen)], kind))
    return index


def read(name: str, gallery: np.ndarray, kind: str, path: Path) -> Approximate:
    """The index that `build` wrote to `path`, mapped into memory.

    Raises UserError if FAISS is not installed, and RuntimeError if the file is damaged or of another gallery.
    """
    faiss = import_faiss()
    mapped = faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY
    if name == "hnsw":  # releases before 1.11 cannot map it, and read it
        mapped = getattr(faiss, "IO_FLAG_MMAP_IFC", 0)
    index = faiss.read_index(str(path), mapped)
    if index.ntotal != gallery.shape[0] * gallery.shape[2] or index.d != gallery.shape[1]:
        raise RuntimeError(f"{path} is of {index.ntotal} vectors of {index.d} features")
    return Approximate(index, gallery, kind, path.stat().st_size)


def views(values: np.ndarray, kind: str) -> np.ndarray:
    """Features (N, D, M) as vectors (M N, D) whose Euclidean distance orders as `kind` does."""
    vectors = np.ascontiguousarray(values.transpose(2, 0, 1).reshape(-1, values.shape[1]))
    return normalised(vectors) if kind == "angular" else vectors


def import_faiss() -> Any:
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)  # how it looks for vector instructions
    return import_optional("faiss", "search", "--index=hnsw or ivfpq")
