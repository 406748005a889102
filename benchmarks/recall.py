"""Recall of approximate search against the exact one.

Product quantisation in an inverted file (FAISS IVF-PQ), and a short list by hash codes of 128 bits that is
re-ranked by exact distances: the two options for a billion photos (docs/performance.md).
"""

from typing import Any

import faiss
import numpy as np

from benchmarks.evaluation import CATEGORIES, FEATURES, PHOTOS, draw_clusters
from benchmarks.measure import save_results, time_run
from retrieval.hashing import binary_codes, fit_code_map

QUERIES, TOP = 500, 10
LISTS, CODE_BYTES = 1024, 64


def measure_recall() -> dict[str, Any]:
    gallery, gallery_labels = draw_clusters(PHOTOS, FEATURES, seed=1)
    query, labels = draw_clusters(QUERIES, FEATURES, seed=2)
    centers = np.random.default_rng(0).standard_normal((CATEGORIES, FEATURES), dtype=np.float32)
    photos, sketches = (np.ascontiguousarray(side[..., 0]) for side in (gallery, query))  # without the flips
    exact = faiss.IndexFlatL2(FEATURES)
    exact.add(photos)
    _, expected = exact.search(sketches, TOP)
    rows: dict[str, list[float]] = {}

    def add_row(name: str, size: float, time: float, positions: np.ndarray) -> None:
        recall = np.mean([len(set(a) & set(b)) / TOP for a, b in zip(expected, positions, strict=True)])
        precision = np.mean(gallery_labels[positions] == labels[:, None])
        rows[name] = [size, 1000 * time / QUERIES, 100 * float(recall), 100 * float(precision)]
        print(f"  {name:<40} {rows[name]}", flush=True)

    add_row("exact, float32", 4 * FEATURES, time_run(lambda: exact.search(sketches, TOP)), expected)
    quantised = faiss.IndexIVFPQ(faiss.IndexFlatL2(FEATURES), FEATURES, LISTS, CODE_BYTES, 8)
    quantised.train(photos[:60_000])
    quantised.add(photos)
    for probes in (1, 8, 64):
        quantised.nprobe = probes
        time = time_run(lambda: quantised.search(sketches, TOP))
        name = f"IVF-PQ, {probes} of {LISTS} lists"
        add_row(name, CODE_BYTES + 8, time, quantised.search(sketches, TOP)[1])
    code_map, _ = fit_code_map(centers, 128, angular=False, seed=0)
    index = faiss.IndexBinaryFlat(128)
    index.add(np.packbits(binary_codes(gallery, code_map, angular=False), axis=1))
    codes = np.packbits(binary_codes(query, code_map, angular=False), axis=1)
    for short_list in (100, 1000, 10_000):
        positions = np.empty((QUERIES, TOP), dtype=np.int64)

        def rerank(short_list: int = short_list, positions: np.ndarray = positions) -> None:
            _, candidates = index.search(codes, short_list)
            for row, (sketch, near) in enumerate(zip(sketches, candidates, strict=True)):
                distances = ((photos[near] - sketch) ** 2).sum(1)
                positions[row] = near[np.argsort(distances)[:TOP]]

        add_row(f"128 bits, exact among the first {short_list}", 16, time_run(rerank), positions)
    return {
        "input": f"{QUERIES} queries x {PHOTOS} photos x {FEATURES} features in {CATEGORIES} clusters",
        "bytes per photo in memory, ms per query, recall@10, P@10": rows,
    }


if __name__ == "__main__":
    save_results("recall", measure_recall())
