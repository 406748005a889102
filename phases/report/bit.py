"""The effect of the domain bit on the gates of the domain-aware modules, and on the MAP."""

from typing import Any

import numpy as np

from datasets import PHOTO, SKETCH
from datasets.annotations import Entry
from datasets.loaders import Batch, ImageSet, ordered_batches
from models.gates import find_domain_modules, measure_gate_changes, photo_offset
from phases.report.evaluated_run import EvaluatedRun
from retrieval.embed import embed
from retrieval.metrics import evaluate
from retrieval.search import feature_rankings
from run.features import sketch_transform
from run.input import photo_transform

BIT_IMAGES = 128  # of each domain


def measure_domain_bit(run: EvaluatedRun) -> dict[str, Any] | None:
    """How flipping the domain bit changes gates and MAP; None without domain-aware modules.

    Measured on a random sample of test sketches and photos, by --seed.
    """
    model, config = run.model, run.config
    modules = find_domain_modules(model.network)
    if not modules:
        return None
    rng = np.random.default_rng(config.seed)
    ap, gallery = run.evaluation.ap, model.data.gallery
    with_positives = np.flatnonzero(~np.isnan(ap))
    queries = np.sort(rng.choice(with_positives, min(BIT_IMAGES, len(with_positives)), replace=False))
    photos = np.sort(rng.choice(len(gallery), min(BIT_IMAGES, len(gallery)), replace=False))
    sketch_batches = load_batches(run, [model.data.test_sketches[query] for query in queries], SKETCH)
    photo_batches = load_batches(run, [gallery[photo] for photo in photos], PHOTO)
    changes = {
        "sketches": measure_gate_changes(model.network, sketch_batches, domain=SKETCH, device=run.device),
        "photos": measure_gate_changes(model.network, photo_batches, domain=PHOTO, device=run.device),
    }
    return {
        "sketches": len(queries),
        "photos": len(photos),
        "MAP": {
            "right bit": float(100 * ap[queries].mean()),
            "wrong bit": measure_wrong_bit(run, queries, sketch_batches),
        },
        "modules": [
            {
                "module": name,
                "sketches": vars(changes["sketches"][name]),
                "photos": vars(changes["photos"][name]),
                "offset": summarize_offset(photo_offset(module).cpu().numpy()),
            }
            for name, module in modules.items()
        ],
    }


def load_batches(run: EvaluatedRun, entries: list[Entry], domain: int) -> list[Batch]:
    """The images of `entries`, all of one domain, in batches as the test embeds them."""
    config = run.config
    transform = (sketch_transform if domain == SKETCH else photo_transform)(config)
    images = ImageSet(run.model.data.root, entries, domain, transform)
    return list(
        ordered_batches(images, config.data.batch_size, workers=config.data.num_workers, device=run.device)
    )


def measure_wrong_bit(run: EvaluatedRun, queries: np.ndarray, batches: list[Batch]) -> float:
    """MAP, in percent, of the test sketches at the positions `queries` if they have the bit of photos.

    `batches` are their images.
    """
    labels = run.sketches.labels[queries]
    rankings = feature_rankings(
        embed_with_bit(run, batches, PHOTO),
        run.photos.values,
        labels,
        run.photos.labels,
        run.config.test.test_distance,
        memory=run.memory,
        device=run.device,
    )
    return evaluate(rankings, labels).metrics["MAP"]


def embed_with_bit(run: EvaluatedRun, batches: list[Batch], domain: int) -> np.ndarray:
    """Features (N, f_dim, 1 or 2) of images of either domain, embedded with the bit of `domain`."""
    parts = list(embed(run.model.network, batches, domain=domain, device=run.device))
    values = np.concatenate([part.cpu().numpy() for part in parts], axis=1).transpose(1, 2, 0)
    return np.ascontiguousarray(values[..., : run.sketches.values.shape[2]])


def summarize_offset(offset: np.ndarray) -> dict[str, float]:
    """Mean absolute value, median and percentiles of the `offset` (channels,) of the logits."""
    low, middle, high = np.percentile(offset, (5, 50, 95)).tolist()
    return {"mean_absolute": float(np.abs(offset).mean()), "p5": low, "median": middle, "p95": high}
