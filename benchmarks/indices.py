"""Recall, size and speed of every --index, one query at a time, as in a search."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.evaluation import CATEGORIES, FEATURES, PHOTOS, draw_clusters
from benchmarks.measure import save_results
from phases.search.indices import Index
from retrieval import approximate, flat
from retrieval.binary import BinaryIndex
from retrieval.hashing import binary_codes, fit_code_map
from retrieval.search import pack_bits

QUERIES, TOP, BITS, KIND = 200, 10, 128, "euclidean"
SIZES = (10_000, PHOTOS)


def measure_indices(count: int) -> dict[str, Any]:
    gallery, gallery_labels = draw_clusters(count, FEATURES, seed=1)
    queries, labels = draw_clusters(QUERIES, FEATURES, seed=2)
    exact: list[np.ndarray] = []
    rows: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, build in index_builders(gallery, Path(folder) / "index").items():
            start = perf_counter()
            index = build()
            built = perf_counter() - start
            index.search(queries[0], TOP)
            start = perf_counter()
            positions = [index.search(query, TOP)[0] for query in queries]
            time = (perf_counter() - start) / QUERIES
            if name == "flat":
                exact = positions
            recall = np.mean([len(np.intersect1d(a, b)) / TOP for a, b in zip(exact, positions, strict=True)])
            precision = np.mean(gallery_labels[np.array(positions)] == labels[:, None])
            rows[name] = [
                index.nbytes / count,
                1000 * time,
                100 * float(recall),
                100 * float(precision),
                built,
            ]
            print(f"  {count} photos, {name:<8} {rows[name]}", flush=True)
    return {
        "input": f"{QUERIES} queries x {count} photos x {FEATURES} features x 2 in {CATEGORIES} clusters",
        "bytes per photo, ms per query, recall@10, P@10, seconds to build": rows,
    }


def index_builders(gallery: np.ndarray, path: Path) -> dict[str, Callable[[], Index]]:
    """A function for each index that builds it over `gallery`, in a file at `path`; the exact one first."""

    def build_faiss(name: str) -> Index:
        approximate.write_index(name, gallery, KIND, path)
        return approximate.read_index(name, gallery, KIND, path)

    def build_binary() -> Index:
        centers = np.random.default_rng(0).standard_normal((CATEGORIES, FEATURES), dtype=np.float32)
        code_map, _ = fit_code_map(centers, BITS, angular=False, seed=0)
        return BinaryIndex(pack_bits(binary_codes(gallery, code_map, angular=False)), code_map, angular=False)

    return {
        "flat": lambda: flat.build_index(gallery, KIND),
        "hnsw": lambda: build_faiss("hnsw"),
        "ivfpq": lambda: build_faiss("ivfpq"),
        f"binary, {BITS} bits": build_binary,
    }


if __name__ == "__main__":
    for size in SIZES:
        save_results(f"indices, {size} photos", measure_indices(size))
