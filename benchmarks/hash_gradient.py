"""Hash MAP by the published gradient and by the identity, on the same centres and features.

python -m benchmarks.hash_gradient                    class centres of uneven norms, drawn by seed
python -m benchmarks.hash_gradient demo demo-cosface  and of trained and tested runs below logs/

Each gradient is fitted with five seeds for 32, 64 and 128 bits. Of a run, the features that its test has kept
and the centres of the same checkpoint are used. The table goes to docs/tables/hashing_gradient.md, the
figures of each fit to benchmarks/hash_gradient.json; rows of other runs stay.
"""

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from losses import loss_facts
from retrieval.hashing import GRADIENTS, binary_codes, fit_code_map
from retrieval.metrics import evaluate
from retrieval.search import code_rankings
from run import checkpoint
from run.config import make_config
from run.features import embed_test_set
from run.provenance import provenance, without_folders
from utils.files import read_json, write_json, write_text

LENGTHS = (32, 64, 128)
SEEDS = range(5)
TABLE = Path(__file__).parents[1] / "docs" / "tables" / "hashing_gradient.md"
FIGURES = Path(__file__).with_suffix(".json")
Figures = dict[str, dict[str, list[float]]]  # MAP by gradient, by bits, by seed


def uneven_clusters(
    classes: int, width: int, photos: int
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Centres (classes, width) with norms from 0.2 to 5.5, and features and labels of sketches and photos.

    Features (N, width, 1) lie around their centres with noise of norm 1.5; two sketches a class.
    """
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((classes, width))
    centers *= np.linspace(0.2, 5.5, classes)[:, None] / np.linalg.norm(centers, axis=1, keepdims=True)
    labels = tuple(np.repeat(np.arange(classes), count) for count in (2, photos))
    noise = [rng.standard_normal((len(each), width)) * 1.5 / width**0.5 for each in labels]
    query, gallery = (
        (centers[each] + more).astype(np.float32)[..., None] for each, more in zip(labels, noise, strict=True)
    )
    return centers.astype(np.float32), (query, gallery), (labels[0], labels[1])


def hash_map(
    centers: np.ndarray,
    features: tuple[np.ndarray, np.ndarray],
    labels: tuple[np.ndarray, np.ndarray],
    bits: int,
    gradient: str,
    seed: int,
    angular: bool = False,
) -> float:
    """Hash MAP in percent, of sketches against photos, by one fit."""
    code_map, _ = fit_code_map(centers, bits, angular=angular, seed=seed, gradient=gradient)
    query, gallery = (binary_codes(each, code_map, angular=angular) for each in features)
    return evaluate(code_rankings(query, gallery, *labels), labels[0]).metrics["MAP"]


def compare(
    centers: np.ndarray,
    features: tuple[np.ndarray, np.ndarray],
    labels: tuple[np.ndarray, np.ndarray],
    angular: bool = False,
) -> Figures:
    """Hash MAP of both gradients for all lengths and seeds."""
    return {
        gradient: {
            str(bits): [hash_map(centers, features, labels, bits, gradient, seed, angular) for seed in SEEDS]
            for bits in LENGTHS
        }
        for gradient in GRADIENTS
    }


def examine_run(save_path: str) -> dict[str, Any]:
    """Both gradients on a run's class centres and features, by the distance that its loss trains for."""
    model = checkpoint.load(make_config(save_path=save_path, device="cpu"))
    config = model.config
    if model.centers is None:
        sys.exit(f"logs/{save_path} has no class centres")
    features = embed_test_set(model.network, model.data, config, step=model.step, device=torch.device("cpu"))
    assert features is not None  # one process
    sketches, photos = features
    angular = loss_facts(config.loss.loss_type).distance == "angular"
    norms = np.linalg.norm(model.centers, axis=1)
    return {
        "MAP": compare(
            model.centers, (sketches.values, photos.values), (sketches.labels, photos.labels), angular
        ),
        "distance": "angular" if angular else "euclidean",
        "norms": [float(norms.min()), float(norms.max())],
        "sizes": [len(norms), len(sketches.labels), len(photos.labels)],
        "step": model.step,
        "made_with": {
            name: value
            for name, value in without_folders(model.options).items()
            if name
            in ("dataset", "network", "image_size", "f_dim", "loss_type", "margin", "center_norm", "lr")
        },
        "revision": provenance(config)["revision"],
    }


def examine_uneven() -> dict[str, Any]:
    centers, features, labels = uneven_clusters(125, 512, 25)
    return {
        "MAP": compare(centers, features, labels),
        "distance": "euclidean",
        "norms": [0.2, 5.5],
        "sizes": [125, len(labels[0]), len(labels[1])],
    }


def show(found: dict[str, dict[str, Any]]) -> str:
    """All rows as Markdown."""
    lines = [
        "## Gradient of the hash fit",
        "",
        f"Hash MAP in percent: mean and sample standard deviation over fits with the seeds {SEEDS[0]} to "
        f"{SEEDS[-1]}, both gradients on the same class centres and features. Made by "
        "`python -m benchmarks.hash_gradient` with the names of runs; figures of each fit are in "
        "benchmarks/hash_gradient.json.",
        "",
        "| | classes, sketches, photos | distance | norms of the centres | gradient | "
        + " | ".join(f"{bits} bits" for bits in LENGTHS)
        + " |",
        "| --- | --- | --- | --- | --- |" + " --- |" * len(LENGTHS),
    ]
    for name, each in found.items():
        for gradient, by_bits in each["MAP"].items():
            sizes = ", ".join(map(str, each["sizes"]))
            norms = " to ".join(f"{norm:.1f}" for norm in each["norms"])
            cells = [
                f"{statistics.fmean(values):.1f} ± {statistics.stdev(values):.1f}"
                for values in by_bits.values()
            ]
            lines.append(
                f"| {name} | {sizes} | {each['distance']} | {norms} | {gradient} | {' | '.join(cells)} |"
            )
    lines.append("")
    for name, each in found.items():
        if "made_with" in each:
            made_with = ", ".join(f"{option} {value}" for option, value in each["made_with"].items())
            lines.append(f"- {name}: step {each['step']}, {made_with}")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.hash_gradient",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", nargs="*", help="folders below logs/; without any, drawn centres alone")
    runs = parser.parse_args().runs
    found = read_json(FIGURES) if FIGURES.is_file() else {}
    if not runs:
        found["drawn"] = examine_uneven()
    for run in runs:
        found[run] = examine_run(run)
    write_json(FIGURES, found)
    write_text(TABLE, show(found))
    print(show(found))


if __name__ == "__main__":
    main()
