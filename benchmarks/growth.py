"""How the cost of evaluation grows with the gallery and with the features, in time and in memory.

The largest gallery is the largest whose features fit into half of the memory, two million photos at most; the
others are its first photos, and fewer features its first features.
"""

from typing import Any

from benchmarks.evaluation import MEMORY, clustered
from benchmarks.measure import memory_gib, peak_memory, record, seconds
from retrieval.metrics import evaluate
from retrieval.search import feature_rankings

SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000, 2_000_000)
WIDTHS = (64, 128, 256, 512)
QUERIES = 100


def run() -> dict[str, Any]:
    room = memory_gib() * 2**30 / 2 / (WIDTHS[-1] * 2 * 4)
    sizes = [each for each in SIZES if each <= room]
    gallery, gallery_labels = clustered(sizes[-1], WIDTHS[-1], seed=1)
    query, labels = clustered(QUERIES, WIDTHS[-1], seed=2)
    times: dict[str, list[float | None]] = {}
    peaks: dict[str, list[float | None]] = {}
    for width in WIDTHS:
        name = f"{width} features"
        times[name], peaks[name] = [], []
        for size in sizes:

            def whole(size: int = size, width: int = width) -> None:
                rankings = feature_rankings(
                    query[:, :width], gallery[:size, :width], labels, gallery_labels[:size], "euclidean",
                    memory=MEMORY,
                )  # fmt: skip
                evaluate(rankings, labels)

            peaks[name].append(peak_memory(whole))
            times[name].append(min(seconds(whole) for _ in range(2)) / QUERIES)
            print(f"  {name}, {size} photos: {times[name][-1]:.5f} s per query", flush=True)
    return {
        "input": f"{QUERIES} queries, euclidean, 2 mirrors",
        "photos": sizes,
        "seconds per query": times,
        "MiB beside the features": peaks,
    }


if __name__ == "__main__":
    record("evaluation growth", run())
