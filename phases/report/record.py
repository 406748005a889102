"""The record of one run's report: every number that its page prints or draws, with what it depends on."""

import math
from typing import Any

import numpy as np

from datasets import dataset_facts
from experiments.published import BITS, hashed, real_valued
from phases.report.bit import domain_bit
from phases.report.definitions import DEFINITIONS
from phases.report.evaluated_run import EvaluatedRun, compared_with_result_json
from phases.report.measures import (
    confused_categories,
    extreme_queries,
    feature_map,
    pair_distances,
    retrieval_curves,
    separation,
)
from phases.test import evaluate_bits
from retrieval import metrics
from run import results
from run.config import Config
from run.provenance import provenance
from utils.tracking import read_scalars

Record = dict[str, Any]


def record_of(run: EvaluatedRun) -> Record:
    """All that the page of a run shows. Its values are plain: figures are drawn from them alone."""
    config, model, found = run.config, run.model, run.found
    data = model.data
    codes = hash_lengths(run)
    return {
        "run": config.save_path,
        "step": model.step,
        "dataset": config.data.dataset,
        "distance": config.test.test_distance,
        "mirror": config.test.mirror,
        "metrics": found.metrics,
        "chance": found.chance,
        "MAP_interval": confidence_interval(found.ap),
        "AP": [None if math.isnan(value) else 100 * value for value in found.ap.tolist()],
        "differs_from_result_json": compared_with_result_json(run, codes),
        "counts": results.counts(found, data),
        "training": training(config),
        **retrieval_curves(run),
        "per_category_MAP": {data.categories[label]: value for label, value in found.per_category.items()},
        "queries": extreme_queries(run),
        "confusion": confused_categories(run),
        "map": feature_map(run),
        "distances": pair_distances(run),
        "separation": separation(run),
        "hash": {str(bits): value for bits, value in codes.items()},
        "domain_bit": domain_bit(run),
        "published": published(config, len(data.categories), zero_shot=data.zero_shot),
        "definitions": {
            **metrics.DEFINITIONS,
            "gallery": results.ZERO_SHOT_GALLERY if data.zero_shot else results.GALLERY,
            **DEFINITIONS,
        },
        "images": str(data.root),
        "checkpoint": str(model.path),
        "training_options": model.options,
        "training_machine": model.machine,
        "lists": data.digest(),
        **provenance(config),
    }


def confidence_interval(ap: np.ndarray) -> float:
    """Half of the 95 percent confidence interval of the MAP over queries, in percent."""
    known = ap[~np.isnan(ap)]
    return float(100 * 1.96 * known.std(ddof=1) / math.sqrt(len(known))) if len(known) > 1 else 0.0


def training(config: Config) -> dict[str, list[float]]:
    """The columns of log/scalars.csv, without rows that are not finite; none if the run has no such file."""
    rows = read_scalars(config.folder / "log" / "scalars.csv")
    rows = [row for row in rows if all(map(math.isfinite, row.values()))]
    return {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}


def hash_lengths(run: EvaluatedRun) -> dict[int, float]:
    """Mean MAP over the fits, in percent, by the bits of the codes; none without centres to fit them on."""
    centers = run.model.centers
    if centers is None or len(centers) < 2:
        return {}
    return {
        bits: results.summarize_fits(evaluate_bits(centers, run.sketches, run.photos, run.config, bits))[
            "MAP"
        ]
        for bits in run.config.test.hash_bits
    }


def published(config: Config, categories: int, *, zero_shot: bool) -> dict[str, Any]:
    """Numbers printed elsewhere for this data set and protocol, or why there are none."""
    columns = tuple(map(str, BITS))
    rows = [each for each in (*real_valued("MAP"), *hashed(columns)) if config.data.dataset in each.values]
    whole = dataset_facts(config.data.dataset).categories
    if not rows:
        return {"missing": f"No published numbers are at hand for the data set {config.data.dataset}."}
    if zero_shot:
        return {"missing": "The published numbers at hand are of seen categories; this run is zero-shot."}
    if categories != whole:
        return {
            "missing": f"The published numbers at hand are of all {whole} categories of "
            f"{config.data.dataset}; these lists have {categories}."
        }
    photos = dataset_facts(config.data.dataset).photos
    return {
        "of": f"all {whole} categories, seen in training, and {photos:,} photos",
        "rows": [
            {"method": each.label, "source": each.source, **each.values[config.data.dataset]} for each in rows
        ],
    }
