"""Exact evaluation at full scale: 2,500 queries, 204,489 photos, 512 features, 2 mirrors.

The baseline evaluates the formulas of docs/method.md, Evaluation, as they are written: per query, differences
to the whole gallery, a sort, and one pass in Python over the ranking. The limit is the four matrix products
alone. scikit-learn's and torchmetrics' average precision start from given distances.
"""

import argparse
from typing import Any

import numpy as np
import torch

from benchmarks.measure import Variant, available_memory_gib, compare, save_results
from retrieval.distances import PHOTO_BLOCK
from retrieval.metrics import Evaluation, average_precision, evaluate
from retrieval.search import feature_rankings

QUERIES, PHOTOS, FEATURES, CATEGORIES = 2500, 204_489, 512, 250
MEMORY = 920 * 2**20  # bytes for distances, beside the features
BASELINE_QUERIES = 3  # the baseline takes seconds per query
BLOCK = 2048


def draw_clusters(
    count: int, features: int, *, seed: int, categories: int = CATEGORIES, spread: float = 2.0
) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, D, 2) float32 around random centres, and labels (N,); their MAP is about 86."""
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(0).standard_normal((categories, features), dtype=np.float32)
    labels = np.arange(count) % categories
    rng.shuffle(labels)
    planes = np.empty((2, count, features), dtype=np.float32)
    for first in range(0, count, BLOCK):
        part = labels[first : first + BLOCK]
        noise = rng.standard_normal((2, len(part), features), dtype=np.float32)
        planes[0, first : first + BLOCK] = centers[part] + spread * noise[0]
        planes[1, first : first + BLOCK] = planes[0, first : first + BLOCK] + 0.5 * noise[1]
    return planes.transpose(1, 2, 0), labels


def compute_plain_ap(query: torch.Tensor, gallery: torch.Tensor, label: int, labels: np.ndarray) -> float:
    """Average precision in [0, 1] of one query (D, 2), by the formula as it is written, in float32."""
    distances = compute_plain_distances(query, gallery)
    hits, total = 0, 0.0
    for rank, photo in enumerate(distances.argsort().tolist(), start=1):
        if labels[photo] == label:
            hits += 1
            total += hits / rank
    return total / hits


def compute_plain_distances(query: torch.Tensor, gallery: torch.Tensor) -> torch.Tensor:
    """Squared distances (G,) of one query (D, 2), the smallest over the four pairs, in the type of both."""
    by_flip = [((gallery - query[:, flip, None]) ** 2).sum(dim=1).amin(dim=1) for flip in (0, 1)]
    return torch.minimum(*by_flip)


def multiply_matrices(left: torch.Tensor, right: torch.Tensor) -> None:
    """The matrix products (2, Q, D) with (2, G, D) that any computation of the distances needs."""
    left = left.flatten(0, 1)
    buffer = left.new_empty((len(left), PHOTO_BLOCK))
    for first in range(0, right.shape[1], PHOTO_BLOCK):
        for block in right[:, first : first + PHOTO_BLOCK]:
            torch.mm(left, block.T, out=buffer[:, : len(block)])


def measure_evaluation(device: torch.device) -> dict[str, Any]:
    photos = PHOTOS if available_memory_gib() > 6 else PHOTOS // 8
    gallery, gallery_labels = draw_clusters(photos, FEATURES, seed=1)
    query, labels = draw_clusters(QUERIES, FEATURES, seed=2)
    evaluations: list[Evaluation] = []

    def evaluate_all() -> None:
        rankings = feature_rankings(
            query, gallery, labels, gallery_labels, "euclidean", memory=MEMORY, device=device
        )
        evaluations.append(evaluate(rankings, labels, all_definitions=True))

    # copied to the device beforehand: the copy is not part of the comparison
    left, right = (torch.from_numpy(side.transpose(2, 0, 1)).to(device) for side in (query, gallery))
    baseline_ap: list[float] = []

    def run_baseline() -> None:
        queries, photos = left.permute(1, 2, 0), right.permute(1, 2, 0)
        baseline_ap[:] = [
            compute_plain_ap(queries[row], photos, int(labels[row]), gallery_labels)
            for row in range(BASELINE_QUERIES)
        ]

    result = compare(
        [
            Variant("this program: distances, ranking, all metrics", evaluate_all, QUERIES),
            Variant("formulas taken literally", run_baseline, BASELINE_QUERIES, "baseline"),
            Variant(
                "the four matrix products alone", lambda: multiply_matrices(left, right), QUERIES, "limit"
            ),
        ],
        unit="query",
        device=device,
    )
    evaluation = evaluations[-1]
    exact = [compute_float64_ap(query[row], gallery, int(labels[row]), gallery_labels) for row in range(20)]
    return {
        **result,
        "input": f"{QUERIES} queries x {photos} photos x {FEATURES} features x 2 mirrors, "
        f"{gallery.nbytes / 2**20:.0f} MiB of features, {device.type}",
        "MAP": evaluation.metrics["MAP"],
        "AP differs from the baseline's by at most": float(
            np.abs(evaluation.ap[: len(baseline_ap)] - baseline_ap).max()
        ),
        "AP differs from float64's by at most": float(np.abs(evaluation.ap[:20] - exact).max()),
    }


def compute_float64_ap(query: np.ndarray, gallery: np.ndarray, label: int, labels: np.ndarray) -> float:
    """Average precision in [0, 1] of one query (D, 2), from distances computed in float64 block by block."""
    exact_query = torch.from_numpy(query).double()
    blocks = [torch.from_numpy(gallery[first : first + BLOCK]) for first in range(0, len(gallery), BLOCK)]
    distances = torch.cat([compute_plain_distances(exact_query, block.double()) for block in blocks])
    return average_precision(distances.numpy(), labels == label)


def measure_average_precision() -> dict[str, Any]:
    """Average precision from given distances, against scikit-learn and torchmetrics."""
    from sklearn.metrics import average_precision_score
    from torchmetrics.functional.retrieval import retrieval_average_precision

    rng = np.random.default_rng(0)
    distances = rng.standard_normal((8, PHOTOS), dtype=np.float32) ** 2
    positive = rng.integers(0, CATEGORIES, (8, PHOTOS)) == 0
    distances[positive] *= 0.3
    scores, targets = torch.from_numpy(1 / (1 + distances)), torch.from_numpy(positive)

    def run_own() -> list[float]:
        return [average_precision(d, p) for d, p in zip(distances, positive, strict=True)]

    def run_sklearn() -> list[float]:
        return [average_precision_score(p, -d) for d, p in zip(distances, positive, strict=True)]

    def run_torchmetrics() -> list[float]:
        return [float(retrieval_average_precision(s, t)) for s, t in zip(scores, targets, strict=True)]

    result = compare(
        [
            Variant("this program", run_own, 8),
            Variant("scikit-learn average_precision_score", run_sklearn, 8, "peer"),
            Variant("torchmetrics retrieval_average_precision", run_torchmetrics, 8, "peer"),
        ],
        unit="query",
    )
    own = run_own()
    return {
        **result,
        "input": f"{PHOTOS} distances given, one query",
        "AP differs from scikit-learn's by at most": float(np.abs(np.subtract(own, run_sklearn())).max()),
        "AP differs from torchmetrics' by at most": float(np.abs(np.subtract(own, run_torchmetrics())).max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    device = torch.device(parser.parse_args().device)
    save_results("evaluation", measure_evaluation(device), device)
    if device.type == "cpu":
        save_results("ranking", measure_average_precision())


if __name__ == "__main__":
    main()
