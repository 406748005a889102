"""Hash codes: fitting them from the class centres, and ranking by Hamming distance.

The baseline of the fit is the published arithmetic (docs/method.md, Hash codes) with PyTorch's autograd and
Adam, timed over a tenth of its 10,000 steps. The peer of the ranking is FAISS's exact binary index with all
photos as the result; it breaks ties by position, where this program averages over all orders.
"""

import argparse
from functools import partial
from typing import Any

import faiss
import numpy as np
import torch
from torch import nn

from benchmarks.evaluation import PHOTOS, QUERIES
from benchmarks.measure import Variant, compare, save_results
from retrieval.hashing import FIT_LR, FIT_STEPS, LR_STEP, SIGN_EPSILON, fit_code_map
from retrieval.metrics import evaluate
from retrieval.search import code_rankings

LENGTHS = (32, 64, 128)
FAISS_QUERIES = 100  # its result takes 12 bytes per photo and query


class PublishedMap(nn.Module):
    """A linear map under spectral normalisation, with a power iteration before every use in training."""

    def __init__(self, dim: int, bits: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, bits)
        self.u = nn.functional.normalize(torch.randn(bits), dim=0)
        self.v = nn.functional.normalize(torch.randn(dim), dim=0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.linear.weight
        if self.training:
            with torch.no_grad():
                self.v = nn.functional.normalize(weight.T @ self.u, dim=0)
                self.u = nn.functional.normalize(weight @ self.v, dim=0)
        return nn.functional.linear(x, weight / (self.u @ weight @ self.v), self.linear.bias)


def fit_published_map(centers: np.ndarray, bits: int, steps: int, seed: int = 0) -> tuple[nn.Module, float]:
    """Fit a map as in docs/method.md, Hash codes, with autograd; returns it and its final loss."""
    torch.manual_seed(seed)
    x = torch.from_numpy(centers)
    linear = PublishedMap(x.shape[1], bits)
    optimizer = torch.optim.Adam(linear.parameters(), lr=FIT_LR)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 1 - step // LR_STEP * LR_STEP / FIT_STEPS
    )
    others = ~torch.eye(len(x), dtype=torch.bool)
    for _ in range(steps):
        z = linear(x)
        codes = z / (z.abs().detach() + SIGN_EPSILON)
        loss = (codes @ codes.T)[others].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    linear.eval()
    with torch.no_grad():
        codes = torch.where(linear(x) > 0, 1.0, -1.0)
        return linear, float((codes @ codes.T)[others].mean())


def compare_fits(classes: int) -> dict[str, Any]:
    """Compare fits of 32, 64 and 128 bits to centres of 512 features."""
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((classes, 512)).astype(np.float32)
    centers /= np.linalg.norm(centers, axis=1, keepdims=True)
    fraction = 10  # of the baseline's steps, which are slow

    def run_own() -> list[float]:
        return [fit_code_map(centers, bits, angular=False, seed=0)[1] for bits in LENGTHS]

    def run_baseline() -> None:
        for bits in LENGTHS:
            fit_published_map(centers, bits, FIT_STEPS // fraction)

    result = compare(
        [
            Variant("this program", run_own, FIT_STEPS),
            Variant("published arithmetic", run_baseline, FIT_STEPS // fraction, "baseline"),
        ],
        unit="step",
    )
    bound = {bits: -bits / (classes if classes % 2 else classes - 1) for bits in LENGTHS}
    losses = {"lower bound": list(bound.values()), "this program": run_own()}
    if classes < 100:
        losses["published arithmetic"] = [fit_published_map(centers, bits, FIT_STEPS)[1] for bits in LENGTHS]
    return {**result, "input": f"{classes} random centres, 512 features, {LENGTHS} bits", "loss": losses}


def compare_rankings() -> dict[str, Any]:
    """Compare full rankings by codes of 128 bits."""
    rng = np.random.default_rng(0)
    labels, gallery_labels = rng.integers(0, 250, QUERIES), rng.integers(0, 250, PHOTOS)
    codes = rng.integers(0, 2, (250, 128), dtype=np.uint8)
    query, gallery = (
        codes[side] ^ (rng.random((len(side), 128)) < 0.25) for side in (labels, gallery_labels)
    )
    index = faiss.IndexBinaryFlat(128)
    index.add(np.packbits(gallery, axis=1))
    packed = np.packbits(query[:FAISS_QUERIES], axis=1)
    evaluations = []

    def run_faiss(heap: bool) -> None:
        index.use_heap = heap
        index.search(packed, PHOTOS)

    def run_own() -> None:
        evaluations.append(evaluate(code_rankings(query, gallery, labels, gallery_labels), labels))

    result = compare(
        [
            Variant("this program, with all metrics", run_own, QUERIES),
            Variant("FAISS IndexBinaryFlat, all photos", partial(run_faiss, True), FAISS_QUERIES, "peer"),
            Variant("the same by counting", partial(run_faiss, False), FAISS_QUERIES, "peer"),
        ],
        unit="query",
    )
    shuffled = rng.permutation(PHOTOS)
    evaluation = evaluations[-1]
    shuffled_evaluation = evaluate(
        code_rankings(query[:50], gallery[shuffled], labels[:50], gallery_labels[shuffled]), labels[:50]
    )
    return {
        **result,
        "input": f"{QUERIES} queries x {PHOTOS} photos, 128 bits",
        "MAP": evaluation.metrics["MAP"],
        "AP with the gallery shuffled differs by at most": float(
            np.abs(shuffled_evaluation.ap - evaluation.ap[:50]).max()
        ),
    }


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    save_results("hash ranking", compare_rankings())
    for classes in (25, 125, 250):
        save_results(f"hash fit, {classes} classes", compare_fits(classes))


if __name__ == "__main__":
    main()
