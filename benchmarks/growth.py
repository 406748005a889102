"""Time and memory of evaluation over the size of the gallery and the number of features.

The largest gallery fills half of the available memory and has two million photos at most. Smaller galleries
are its first photos, and fewer features its first features.
"""

from typing import Any

from benchmarks.evaluation import MEMORY, draw_clusters
from benchmarks.measure import available_memory_gib, measure_peak_memory, save_results, time_run
from retrieval.metrics import evaluate
from retrieval.search import feature_rankings

SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000, 2_000_000)
WIDTHS = (64, 128, 256, 512)
QUERIES = 100


def measure_growth() -> dict[str, Any]:
    largest = available_memory_gib() * 2**30 / 2 / (WIDTHS[-1] * 2 * 4)
    sizes = [size for size in SIZES if size <= largest]
    gallery, gallery_labels = draw_clusters(sizes[-1], WIDTHS[-1], seed=1)
    query, labels = draw_clusters(QUERIES, WIDTHS[-1], seed=2)
    times: dict[str, list[float | None]] = {}
    peaks: dict[str, list[float | None]] = {}
    for width in WIDTHS:
        name = f"{width} features"
        times[name], peaks[name] = [], []
        for size in sizes:

            def evaluate_all(size: int = size, width: int = width) -> None:
                rankings = feature_rankings(
                    query[:, :width], gallery[:size, :width], labels, gallery_labels[:size], "euclidean",
                    memory=MEMORY,
                )  # fmt: skip
                evaluate(rankings, labels)

            peaks[name].append(measure_peak_memory(evaluate_all))
            times[name].append(min(time_run(evaluate_all) for _ in range(2)) / QUERIES)
            print(f"  {name}, {size} photos: {times[name][-1]:.5f} s per query", flush=True)
    return {
        "input": f"{QUERIES} queries, euclidean, 2 mirrors",
        "photos": sizes,
        "seconds per query": times,
        "MiB beside the features": peaks,
    }


if __name__ == "__main__":
    save_results("evaluation growth", measure_growth())
