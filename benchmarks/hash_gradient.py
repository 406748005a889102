"""Hash MAP with the published gradient and with the identity, on the same centres and features.

python -m benchmarks.hash_gradient                    random class centres of uneven norms
python -m benchmarks.hash_gradient demo demo-cosface  centres and features of tested runs below logs/

Each gradient is fitted with five seeds for 32, 64 and 128 bits. A run's features come from the cache of its
test. Writes docs/tables/hashing_gradient.md, and the MAP of each fit to benchmarks/hash_gradient.json, where
rows of other runs stay.
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
from run.provenance import provenance, strip_folders
from utils.files import read_json, write_json, write_text

LENGTHS = (32, 64, 128)
SEEDS = range(5)
TABLE = Path(__file__).parents[1] / "docs" / "tables" / "hashing_gradient.md"
RESULTS = Path(__file__).with_suffix(".json")
HashMaps = dict[str, dict[str, list[float]]]  # MAP by gradient, by bits, by seed


def draw_uneven_clusters(
    classes: int, width: int, photos: int
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Centres (classes, width) with norms from 0.2 to 5.5, and features and labels of sketches and photos.

    Features (N, width, 1) lie around their centres with noise of norm 1.5; two sketches a class.
    """
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((classes, width))
    centers *= np.linspace(0.2, 5.5, classes)[:, None] / np.linalg.norm(centers, axis=1, keepdims=True)
    labels = [np.repeat(np.arange(classes), count) for count in (2, photos)]
    features = []
    for side in labels:
        noise = rng.standard_normal((len(side), width)) * 1.5 / width**0.5
        features.append((centers[side] + noise).astype(np.float32)[..., None])
    return centers.astype(np.float32), (features[0], features[1]), (labels[0], labels[1])


def measure_hash_map(
    centers: np.ndarray,
    features: tuple[np.ndarray, np.ndarray],
    labels: tuple[np.ndarray, np.ndarray],
    bits: int,
    gradient: str,
    seed: int,
    angular: bool = False,
) -> float:
    """Hash MAP in percent of sketches against photos, for one fit."""
    code_map, _ = fit_code_map(centers, bits, angular=angular, seed=seed, gradient=gradient)
    query, gallery = (binary_codes(side, code_map, angular=angular) for side in features)
    return evaluate(code_rankings(query, gallery, *labels), labels[0]).metrics["MAP"]


def compare_gradients(
    centers: np.ndarray,
    features: tuple[np.ndarray, np.ndarray],
    labels: tuple[np.ndarray, np.ndarray],
    angular: bool = False,
) -> HashMaps:
    """Hash MAP of both gradients for all code lengths and seeds."""
    return {
        gradient: {
            str(bits): [
                measure_hash_map(centers, features, labels, bits, gradient, seed, angular) for seed in SEEDS
            ]
            for bits in LENGTHS
        }
        for gradient in GRADIENTS
    }


def measure_run(save_path: str) -> dict[str, Any]:
    """Compare both gradients on a run's class centres and features, by its loss's distance."""
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
        "MAP": compare_gradients(
            model.centers, (sketches.values, photos.values), (sketches.labels, photos.labels), angular
        ),
        "distance": "angular" if angular else "euclidean",
        "norms": [float(norms.min()), float(norms.max())],
        "sizes": [len(norms), len(sketches.labels), len(photos.labels)],
        "step": model.step,
        "made_with": {
            name: value
            for name, value in strip_folders(model.options).items()
            if name
            in ("dataset", "network", "image_size", "f_dim", "loss_type", "margin", "center_norm", "lr")
        },
        "revision": provenance(config)["revision"],
    }


def measure_drawn() -> dict[str, Any]:
    """Compare both gradients on random class centres of uneven norms."""
    centers, features, labels = draw_uneven_clusters(125, 512, 25)
    return {
        "MAP": compare_gradients(centers, features, labels),
        "distance": "euclidean",
        "norms": [0.2, 5.5],
        "sizes": [125, len(labels[0]), len(labels[1])],
    }


def format_table(rows: dict[str, dict[str, Any]]) -> str:
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
    for name, row in rows.items():
        for gradient, by_bits in row["MAP"].items():
            sizes = ", ".join(map(str, row["sizes"]))
            norms = " to ".join(f"{norm:.1f}" for norm in row["norms"])
            cells = [
                f"{statistics.fmean(values):.1f} ± {statistics.stdev(values):.1f}"
                for values in by_bits.values()
            ]
            lines.append(
                f"| {name} | {sizes} | {row['distance']} | {norms} | {gradient} | {' | '.join(cells)} |"
            )
    lines.append("")
    for name, row in rows.items():
        if "made_with" in row:
            made_with = ", ".join(f"{option} {value}" for option, value in row["made_with"].items())
            lines.append(f"- {name}: step {row['step']}, {made_with}")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.hash_gradient",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", nargs="*", help="folders below logs/; without any, random centres")
    runs = parser.parse_args().runs
    rows = read_json(RESULTS) if RESULTS.is_file() else {}
    if not runs:
        rows["drawn"] = measure_drawn()
    for run in runs:
        rows[run] = measure_run(run)
    write_json(RESULTS, rows)
    write_text(TABLE, format_table(rows))
    print(format_table(rows))


if __name__ == "__main__":
    main()
