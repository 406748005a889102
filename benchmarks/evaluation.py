"""Exact evaluation at full scale: 2,500 queries, 204,489 photos, 512 features, 2 mirrors.

The baseline follows docs/method.md, Evaluation, literally: for every query, differences to the whole
gallery, a sort, and one pass in Python over the ranking. The limit is the four matrix products alone.
scikit-learn's and torchmetrics' average precision get the distances for nothing.
"""

import argparse
from typing import Any

import numpy as np
import torch

from benchmarks.measure import Variant, compare, memory_gib, record
from retrieval.distances import COLUMNS
from retrieval.metrics import Evaluation, average_precision, evaluate
from retrieval.search import feature_rankings

QUERIES, PHOTOS, FEATURES, CATEGORIES = 2500, 204_489, 512, 250
MEMORY = 920 * 2**20  # bytes, for what stands beside the features
LITERAL_QUERIES = 3  # the baseline takes seconds for one
BLOCK = 2048


def clustered(
    count: int, features: int, *, seed: int, categories: int = CATEGORIES, spread: float = 2.0
) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, D, 2) float32 around random centres, and labels (N,): a MAP of about 86."""
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


def literal(query: torch.Tensor, gallery: torch.Tensor, label: int, labels: np.ndarray) -> float:
    """Average precision of one query (D, 2), word for word, in float32."""
    distances = literal_distances(query, gallery)
    hits, total = 0, 0.0
    for rank, photo in enumerate(distances.argsort().tolist(), start=1):
        if labels[photo] == label:
            hits += 1
            total += hits / rank
    return total / hits


def literal_distances(query: torch.Tensor, gallery: torch.Tensor) -> torch.Tensor:
    """Squared distances (G,) of one query (D, 2), the smallest over the four pairs, in the type of both."""
    pairs = [((gallery - query[:, mine, None]) ** 2).sum(dim=1).amin(dim=1) for mine in (0, 1)]
    return torch.minimum(*pairs)


def products(left: torch.Tensor, right: torch.Tensor) -> None:
    """The matrix products that distances cannot do without: (2, Q, D) with (2, G, D)."""
    left = left.flatten(0, 1)
    free = left.new_empty((len(left), COLUMNS))
    for first in range(0, right.shape[1], COLUMNS):
        for theirs in right[:, first : first + COLUMNS]:
            torch.mm(left, theirs.T, out=free[:, : len(theirs)])


def run(device: torch.device) -> dict[str, Any]:
    photos = PHOTOS if memory_gib() > 6 else PHOTOS // 8
    gallery, gallery_labels = clustered(photos, FEATURES, seed=1)
    query, labels = clustered(QUERIES, FEATURES, seed=2)
    found: list[Evaluation] = []

    def whole() -> None:
        rankings = feature_rankings(
            query, gallery, labels, gallery_labels, "euclidean", memory=MEMORY, device=device
        )
        found.append(evaluate(rankings, labels, all_definitions=True))

    # where the work is done, from the start: copying is not what is compared
    left, right = (torch.from_numpy(side.transpose(2, 0, 1)).to(device) for side in (query, gallery))
    plain: list[float] = []

    def baseline() -> None:
        queries, photos = left.permute(1, 2, 0), right.permute(1, 2, 0)
        plain[:] = [
            literal(queries[row], photos, int(labels[row]), gallery_labels) for row in range(LITERAL_QUERIES)
        ]

    result = compare(
        [
            Variant("this program: distances, ranking, all metrics", whole, QUERIES),
            Variant("formulas taken literally", baseline, LITERAL_QUERIES, "baseline"),
            Variant("the four matrix products alone", lambda: products(left, right), QUERIES, "limit"),
        ],
        unit="query",
        device=device,
    )
    exact = [in_float64(query[row], gallery, int(labels[row]), gallery_labels) for row in range(20)]
    return {
        **result,
        "input": f"{QUERIES} queries x {photos} photos x {FEATURES} features x 2 mirrors, "
        f"{gallery.nbytes / 2**20:.0f} MiB of features, {device.type}",
        "MAP": found[-1].metrics["MAP"],
        "AP differs from the baseline's by at most": float(np.abs(found[-1].ap[: len(plain)] - plain).max()),
        "AP differs from float64's by at most": float(np.abs(found[-1].ap[:20] - exact).max()),
    }


def in_float64(query: np.ndarray, gallery: np.ndarray, label: int, labels: np.ndarray) -> float:
    """Average precision of one query (D, 2) from distances in float64, block by block."""
    one = torch.from_numpy(query).double()
    blocks = [torch.from_numpy(gallery[first : first + BLOCK]) for first in range(0, len(gallery), BLOCK)]
    distances = torch.cat([literal_distances(one, block.double()) for block in blocks])
    return average_precision(distances.numpy(), labels == label)


def ranking() -> dict[str, Any]:
    """Average precision from given distances, beside other libraries."""
    from sklearn.metrics import average_precision_score
    from torchmetrics.functional.retrieval import retrieval_average_precision

    rng = np.random.default_rng(0)
    distances = rng.standard_normal((8, PHOTOS), dtype=np.float32) ** 2
    positive = rng.integers(0, CATEGORIES, (8, PHOTOS)) == 0
    distances[positive] *= 0.3
    score, wanted = torch.from_numpy(1 / (1 + distances)), torch.from_numpy(positive)
    ours, theirs, metrics = (
        [average_precision(*each) for each in zip(distances, positive, strict=True)],
        [average_precision_score(p, -d) for d, p in zip(distances, positive, strict=True)],
        [float(retrieval_average_precision(*each)) for each in zip(score, wanted, strict=True)],
    )
    result = compare(
        [
            Variant(
                "this program",
                lambda: [average_precision(*each) for each in zip(distances, positive, strict=True)],
                8,
            ),
            Variant(
                "scikit-learn average_precision_score",
                lambda: [average_precision_score(p, -d) for d, p in zip(distances, positive, strict=True)],
                8,
                "peer",
            ),
            Variant(
                "torchmetrics retrieval_average_precision",
                lambda: [retrieval_average_precision(*each) for each in zip(score, wanted, strict=True)],
                8,
                "peer",
            ),
        ],
        unit="query",
    )
    return {
        **result,
        "input": f"{PHOTOS} distances given, one query",
        "AP differs from scikit-learn's by at most": float(np.abs(np.subtract(ours, theirs)).max()),
        "AP differs from torchmetrics' by at most": float(np.abs(np.subtract(ours, metrics)).max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    device = torch.device(parser.parse_args().device)
    record("evaluation", run(device), device)
    if device.type == "cpu":
        record("ranking", ranking())


if __name__ == "__main__":
    main()
