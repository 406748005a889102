"""Hash codes: fitting them from the class centres, and ranking by Hamming distance.

The baseline of the fit is docs/method.md, Hash codes, literally, with PyTorch's spectral norm, autograd and
Adam; its time is that of a tenth of its 10,000 steps. The peer of the ranking is FAISS's exact binary
index, asked for all photos; it breaks ties by position, where this program takes the mean over all orders.
"""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import faiss
import numpy as np
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from benchmarks.evaluation import PHOTOS, QUERIES, clustered
from benchmarks.measure import Variant, compare, record
from retrieval.hashing import FIT_LR, FIT_STEPS, LR_STEP, binary_codes, fit_code_map
from retrieval.metrics import evaluate
from retrieval.search import code_rankings

LENGTHS = (32, 64, 128)
FAISS_QUERIES = 100  # its answer for all photos is 12 bytes each


class Sign(torch.autograd.Function):
    """The sign, with the gradient of the identity."""

    @staticmethod
    def forward(ctx: Any, z: torch.Tensor) -> torch.Tensor:
        return torch.where(z > 0, 1.0, -1.0)

    @staticmethod
    def backward(ctx: Any, slope: torch.Tensor) -> torch.Tensor:
        return slope


def literal_fit(centers: np.ndarray, bits: int, steps: int, seed: int = 0) -> tuple[nn.Module, float]:
    """docs/method.md, Hash codes, with PyTorch's modules: the map, and its loss after the last step."""
    torch.manual_seed(seed)
    x = torch.from_numpy(centers)
    linear = spectral_norm(nn.Linear(x.shape[1], bits))
    optimizer = torch.optim.Adam(linear.parameters(), lr=FIT_LR)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 1 - step // LR_STEP * LR_STEP / FIT_STEPS
    )
    others = ~torch.eye(len(x), dtype=torch.bool)
    for _ in range(steps):
        codes = Sign.apply(linear(x))
        loss = (codes @ codes.T)[others].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    linear.eval()
    with torch.no_grad():
        codes = Sign.apply(linear(x))
        return linear, float((codes @ codes.T)[others].mean())


def fit(classes: int) -> dict[str, Any]:
    """32 + 64 + 128 bits from centres of 512 features."""
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((classes, 512)).astype(np.float32)
    centers /= np.linalg.norm(centers, axis=1, keepdims=True)
    part = 10

    def ours() -> list[float]:
        return [fit_code_map(centers, bits, angular=False, seed=0)[1] for bits in LENGTHS]

    def baseline() -> None:
        for bits in LENGTHS:
            literal_fit(centers, bits, FIT_STEPS // part)

    result = compare(
        [
            Variant("this program", ours, FIT_STEPS),
            Variant("formulas taken literally", baseline, FIT_STEPS // part, "baseline"),
        ],
        unit="step",
    )
    bound = {bits: -bits / (classes if classes % 2 else classes - 1) for bits in LENGTHS}
    losses = {"lower bound": list(bound.values()), "this program": ours()}
    if classes < 100:
        losses["formulas taken literally"] = [literal_fit(centers, bits, FIT_STEPS)[1] for bits in LENGTHS]
    return {**result, "input": f"{classes} random centres, 512 features, {LENGTHS} bits", "loss": losses}


def ranking() -> dict[str, Any]:
    """The full ranking of codes of 128 bits."""
    rng = np.random.default_rng(0)
    labels, gallery_labels = rng.integers(0, 250, QUERIES), rng.integers(0, 250, PHOTOS)
    codes = rng.integers(0, 2, (250, 128), dtype=np.uint8)
    query, gallery = (
        codes[each] ^ (rng.random((len(each), 128)) < 0.25) for each in (labels, gallery_labels)
    )
    index = faiss.IndexBinaryFlat(128)
    index.add(np.packbits(gallery, axis=1))
    packed = np.packbits(query[:FAISS_QUERIES], axis=1)
    found = []

    def peer(heap: bool) -> None:
        index.use_heap = heap
        index.search(packed, PHOTOS)

    def ours() -> None:
        found.append(evaluate(code_rankings(query, gallery, labels, gallery_labels), labels))

    result = compare(
        [
            Variant("this program, with all metrics", ours, QUERIES),
            Variant("FAISS IndexBinaryFlat, all photos", partial(peer, True), FAISS_QUERIES, "peer"),
            Variant("the same by counting", partial(peer, False), FAISS_QUERIES, "peer"),
        ],
        unit="query",
    )
    shuffled = rng.permutation(PHOTOS)
    again = evaluate(
        code_rankings(query[:50], gallery[shuffled], labels[:50], gallery_labels[shuffled]), labels[:50]
    )
    return {
        **result,
        "input": f"{QUERIES} queries x {PHOTOS} photos, 128 bits",
        "MAP": found[-1].metrics["MAP"],
        "AP with the gallery shuffled differs by at most": float(np.abs(again.ap - found[-1].ap[:50]).max()),
    }


def our_map(centers: np.ndarray, bits: int, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """Features (N, D, 2) -> codes (N, bits), by this program."""
    code_map, _ = fit_code_map(centers, bits, angular=False, seed=seed)
    return lambda features: binary_codes(features, code_map, angular=False)


def literal_map(centers: np.ndarray, bits: int, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """The same, word for word."""
    linear, _ = literal_fit(centers, bits, FIT_STEPS, seed)

    def codes(features: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return (linear(torch.from_numpy(features.mean(-1))) > 0).numpy()

    return codes


def quality() -> dict[str, Any]:
    """Hash MAP of both fits over three seeds, on clustered features."""
    gallery, gallery_labels = clustered(20_000, 512, seed=1, spread=3.0, categories=50)
    query, labels = clustered(500, 512, seed=2, spread=3.0, categories=50)
    centers = np.random.default_rng(0).standard_normal((50, 512), dtype=np.float32)
    found: dict[str, list[float]] = {}
    for bits in LENGTHS:
        for name, map_of in {"this program": our_map, "formulas taken literally": literal_map}.items():
            scores = []
            for seed in range(3):
                codes = map_of(centers, bits, seed)
                rankings = code_rankings(codes(query), codes(gallery), labels, gallery_labels)
                scores.append(evaluate(rankings, labels).metrics["MAP"])
            found[f"{name}, {bits} bits"] = scores
    return {
        "input": "50 clusters of 512 features, 500 queries, 20,000 photos; three seeds",
        "hash MAP by seed": found,
    }


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    record("hash ranking", ranking())
    for classes in (25, 125, 250):
        record(f"hash fit, {classes} classes", fit(classes))
    record("hash quality", quality())


if __name__ == "__main__":
    main()
