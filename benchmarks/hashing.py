"""Hash codes: fitting them from the class centres, and ranking by Hamming distance.

The baseline of the fit is the published arithmetic (docs/method.md, Hash codes) in PyTorch, with autograd and
Adam; its time is that of a tenth of its 10,000 steps. The peer of the ranking is FAISS's exact binary
index, asked for all photos; it breaks ties by position, where this program takes the mean over all orders.
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
from retrieval.hashing import FIT_LR, FIT_STEPS, LR_STEP, TINY, fit_code_map
from retrieval.metrics import evaluate
from retrieval.search import code_rankings

LENGTHS = (32, 64, 128)
FAISS_QUERIES = 100  # its answer for all photos is 12 bytes each


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


def published_fit(centers: np.ndarray, bits: int, steps: int, seed: int = 0) -> tuple[nn.Module, float]:
    """docs/method.md, Hash codes, with PyTorch's autograd: the map, and its loss after the last step."""
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
        codes = z / (z.abs().detach() + TINY)
        loss = (codes @ codes.T)[others].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    linear.eval()
    with torch.no_grad():
        codes = torch.where(linear(x) > 0, 1.0, -1.0)
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
            published_fit(centers, bits, FIT_STEPS // part)

    result = compare(
        [
            Variant("this program", ours, FIT_STEPS),
            Variant("published arithmetic", baseline, FIT_STEPS // part, "baseline"),
        ],
        unit="step",
    )
    bound = {bits: -bits / (classes if classes % 2 else classes - 1) for bits in LENGTHS}
    losses = {"lower bound": list(bound.values()), "this program": ours()}
    if classes < 100:
        losses["published arithmetic"] = [published_fit(centers, bits, FIT_STEPS)[1] for bits in LENGTHS]
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


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    save_results("hash ranking", ranking())
    for classes in (25, 125, 250):
        save_results(f"hash fit, {classes} classes", fit(classes))


if __name__ == "__main__":
    main()
