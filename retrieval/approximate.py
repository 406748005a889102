"""Approximate indices (FAISS): they propose photos, which are then ordered by their exact distances.

Both hold every view of a photo, as it is and mirrored, as a vector of its own, and search for the neighbours
of every view of the query. The distances of the photos that they propose are computed from the features, so
only the choice of photos is approximate.

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

from retrieval.hashing import normalise_rows
from retrieval.search import find_nearest
from utils.errors import UserError
from utils.optional import import_optional

MIN_CANDIDATES = 100  # neighbours that FAISS is asked for, at least
CANDIDATES_PER_RESULT = 10
HNSW_LINKS = 32  # neighbours of a vector in the graph
HNSW_BUILD_CANDIDATES = 80  # vectors looked at while one is added
IVF_LISTS_PER_PROBE = 16  # one list in so many is searched, or more for long results
IVF_MIN_PROBES = 8
FEATURES_PER_BYTE, CENTROIDS = 8, 256  # of a product-quantised code
MIN_VECTORS_PER_LIST = 39  # fewer are too few to learn the centre of a list from, by FAISS's rule
MAX_TRAINING_VECTORS = 100_000  # that lists and codes are learned from
BLOCK = 8192  # photos added at a time


@dataclass(frozen=True)
class ApproximateIndex:
    """`index`: FAISS's, over M views of G photos, view m of photo g at m G + g. `values`: (G, D, M)."""

    index: Any
    values: np.ndarray
    kind: str
    nbytes: int  # size of its file, which does not hold `values`

    def search(self, query: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
        """See `retrieval`; fewer than `top` only where FAISS proposes fewer."""
        count = min(max(MIN_CANDIDATES, CANDIDATES_PER_RESULT * top), self.index.ntotal)
        vectors = stack_mirrors(query[None], self.kind)
        _, neighbours = self.index.search(vectors, count, params=self.search_parameters(count))
        photos = np.unique(
            neighbours[neighbours >= 0] % len(self.values)
        )  # -1: fewer than `count` were found
        if not len(photos):
            return photos, np.zeros(0)
        positions, distances = find_nearest(query[None], self.values[photos], self.kind, top, memory=1)
        return photos[positions[0]], distances[0]

    def search_parameters(self, count: int) -> Any:
        """FAISS's parameters of how far to look for `count` neighbours."""
        faiss = import_faiss()
        if isinstance(self.index, faiss.IndexHNSW):
            return faiss.SearchParametersHNSW(efSearch=max(2 * HNSW_LINKS, count))
        lists = self.index.nlist
        lists_for_twice_as_many = math.ceil(2 * lists * count / self.index.ntotal)
        probes = max(IVF_MIN_PROBES, lists // IVF_LISTS_PER_PROBE, lists_for_twice_as_many)
        return faiss.SearchParametersIVF(nprobe=min(lists, probes))


def write_index(name: str, gallery: np.ndarray, kind: str, path: Path, *, seed: int = 0) -> None:
    """Build the index `name` over features (G, D, M) float32 and write it to a new file at `path`.

    Raises UserError if FAISS is not installed, or if `ivfpq` has too few photos to learn from.
    """
    faiss = import_faiss()
    _, width, mirrors = gallery.shape
    if name == "hnsw":
        index = faiss.IndexHNSWFlat(width, HNSW_LINKS)
        index.hnsw.efConstruction = HNSW_BUILD_CANDIDATES
    else:
        index = train_ivfpq(gallery, kind, seed)
    for mirror in range(mirrors):
        for first in range(0, len(gallery), BLOCK):
            index.add(stack_mirrors(gallery[first : first + BLOCK, :, mirror, None], kind))
    with path.open("wb") as file:  # through a callback, because FAISS's own file writer hides the OSError
        faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))


def train_ivfpq(gallery: np.ndarray, kind: str, seed: int) -> Any:
    """An inverted file without photos, its lists and codes learned from a sample of `gallery`."""
    faiss = import_faiss()
    count, width, mirrors = gallery.shape
    if count * mirrors < CENTROIDS:
        raise UserError(
            f"--index=ivfpq learns from {CENTROIDS} features at least, and {count} photos have "
            f"{count * mirrors}; take --index=flat, which is fast there"
        )
    parts = max(n for n in range(1, max(1, width // FEATURES_PER_BYTE) + 1) if width % n == 0)
    lists = max(1, min(int(4 * math.sqrt(count * mirrors)), count * mirrors // MIN_VECTORS_PER_LIST))
    index = faiss.IndexIVFPQ(faiss.IndexFlatL2(width), width, lists, parts, 8)
    index.cp.min_points_per_centroid = index.pq.cp.min_points_per_centroid = 1  # no warning on stderr
    sample = np.random.default_rng(seed).permutation(count)[: MAX_TRAINING_VECTORS // mirrors]
    index.train(stack_mirrors(gallery[np.sort(sample)], kind))
    return index


def read_index(name: str, gallery: np.ndarray, kind: str, path: Path) -> ApproximateIndex:
    """The index that `write_index` wrote to `path`, mapped into memory.

    Raises UserError if FAISS is not installed, and RuntimeError if the file is damaged or of another gallery.
    """
    faiss = import_faiss()
    flags = faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY
    if name == "hnsw":  # releases before 1.11 cannot map it, and read it into memory
        flags = getattr(faiss, "IO_FLAG_MMAP_IFC", 0)
    index = faiss.read_index(str(path), flags)
    if index.ntotal != gallery.shape[0] * gallery.shape[2] or index.d != gallery.shape[1]:
        raise RuntimeError(f"{path} holds {index.ntotal} vectors of {index.d} features")
    return ApproximateIndex(index, gallery, kind, path.stat().st_size)


def stack_mirrors(values: np.ndarray, kind: str) -> np.ndarray:
    """Features (N, D, M) as vectors (M N, D) whose Euclidean distance orders as `kind` does."""
    vectors = np.ascontiguousarray(values.transpose(2, 0, 1).reshape(-1, values.shape[1]))
    return normalise_rows(vectors) if kind == "angular" else vectors


def import_faiss() -> Any:
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)  # it logs how it looks for CPU features
    return import_optional("faiss", "search", "--index=hnsw or ivfpq")
