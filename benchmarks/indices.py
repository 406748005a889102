"""The indices of --index, one query after the other, as a person searches: what they find, weigh and take."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.evaluation import CATEGORIES, FEATURES, PHOTOS, clustered
from benchmarks.measure import record
from phases.search.indices import Index
from retrieval import approximate, flat
from retrieval.binary import Binary
from retrieval.hashing import binary_codes, fit_code_map
from retrieval.search import packed

QUERIES, TOP, BITS, KIND = 200, 10, 128, "euclidean"
SIZES = (10_000, PHOTOS)


def run(count: int) -> dict[str, Any]:
    gallery, gallery_labels = clustered(count, FEATURES, seed=1)
    queries, labels = clustered(QUERIES, FEATURES, seed=2)
    wanted: list[np.ndarray] = []
    rows: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, make in makers(gallery, Path(folder) / "index").items():
            start = perf_counter()
            index = make()
            built = perf_counter() - start
            index.nearest(queries[0], TOP)
            start = perf_counter()
            found = [index.nearest(query, TOP)[0] for query in queries]
            time = (perf_counter() - start) / QUERIES
            wanted = wanted or found  # the first index is the exact one
            recall = np.mean([len(np.intersect1d(a, b)) / TOP for a, b in zip(wanted, found, strict=True)])
            precision = np.mean([gallery_labels[a] == label for a, label in zip(found, labels, strict=True)])
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


def makers(gallery: np.ndarray, path: Path) -> dict[str, Callable[[], Index]]:
    """What makes each index, the exact one first."""

    def made(name: str) -> Index:
        approximate.build(name, gallery, KIND, path)
        return approximate.read(name, gallery, KIND, path)

    def hashed() -> Index:
        centers = np.random.default_rng(0).standard_normal((CATEGORIES, FEATURES), dtype=np.float32)
        code_map, _ = fit_code_map(centers, BITS, angular=False, seed=0)
        return Binary(packed(binary_codes(gallery, code_map, angular=False)), code_map, angular=False)

    return {
        "flat": lambda: flat.build(gallery, KIND),
        "hnsw": lambda: made("hnsw"),
        "ivfpq": lambda: made("ivfpq"),
        f"binary, {BITS} bits": hashed,
    }


if __name__ == "__main__":
    for size in SIZES:
        record(f"indices, {size} photos", run(size))
