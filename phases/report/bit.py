"""What the domain bit does, as numbers: to the gates of the domain-aware modules, and to the MAP."""

from typing import Any

import numpy as np

from datasets import PHOTO, SKETCH
from datasets.annotations import Entry
from datasets.loaders import Batch, ImageSet, ordered_batches
from models.gates import bit_offset, domain_modules, gate_changes
from phases.report.evaluated_run import EvaluatedRun
from retrieval.embed import embed
from retrieval.metrics import evaluate
from retrieval.search import feature_rankings
from run.features import sketch_transform
from run.input import photo_transform

BIT_IMAGES = 128  # of each domain


def domain_bit(run: EvaluatedRun) -> dict[str, Any] | None:
    """What flipping the domain bit does to the gates and to the MAP; None without domain-aware modules."""
    model, config = run.model, run.config
    modules = domain_modules(model.network)
    if not modules:
        return None
    draw = np.random.default_rng(config.seed)
    known = np.flatnonzero(~np.isnan(run.found.ap))
    queries = np.sort(draw.choice(known, min(BIT_IMAGES, len(known)), replace=False))
    gallery = model.data.gallery
    photos = np.sort(draw.choice(len(gallery), min(BIT_IMAGES, len(gallery)), replace=False))
    sketches = batches_of(run, [model.data.test_sketches[query] for query in queries], SKETCH)
    changes = {
        "sketches": gate_changes(model.network, sketches, domain=SKETCH, device=run.device),
        "photos": gate_changes(
            model.network,
            batches_of(run, [gallery[photo] for photo in photos], PHOTO),
            domain=PHOTO,
            device=run.device,
        ),
    }
    return {
        "sketches": len(queries),
        "photos": len(photos),
        "MAP": {
            "right bit": float(100 * run.found.ap[queries].mean()),
            "wrong bit": wrong_bit_map(run, queries, sketches),
        },
        "modules": [
            {
                "module": name,
                **{side: vars(each[name]) for side, each in changes.items()},
                "offset": offset_summary(bit_offset(module).cpu().numpy()),
            }
            for name, module in modules.items()
        ],
    }


def batches_of(run: EvaluatedRun, entries: list[Entry], domain: int) -> list[Batch]:
    """The images of `entries`, of one domain, as the test feeds them."""
    config = run.config
    transform = (sketch_transform if domain == SKETCH else photo_transform)(config)
    images = ImageSet(run.model.data.root, entries, domain, transform)
    return list(
        ordered_batches(images, config.data.batch_size, workers=config.data.num_workers, device=run.device)
    )


def wrong_bit_map(run: EvaluatedRun, queries: np.ndarray, batches: list[Batch]) -> float:
    """MAP, in percent, of the test sketches `queries`, in `batches`, if they are embedded as photos are."""
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
    """Features (N, f_dim, 1 or 2) of images, of whatever domain they are, with the bit of `domain`."""
    parts = list(embed(run.model.network, batches, domain=domain, device=run.device))
    values = np.concatenate([part.cpu().numpy() for part in parts], axis=1).transpose(1, 2, 0)
    return np.ascontiguousarray(values[..., : run.sketches.values.shape[2]])


def offset_summary(offset: np.ndarray) -> dict[str, float]:
    low, middle, high = np.percentile(offset, (5, 50, 95)).tolist()
    return {"mean_absolute": float(np.abs(offset).mean()), "p5": low, "median": middle, "p95": high}
