"""The record of a run's report: every number on its page, and what the numbers depend on."""

import math
from typing import Any

import numpy as np

from datasets import dataset_facts
from experiments.published import BITS, published_features, published_hash_codes
from phases.report.bit import measure_domain_bit
from phases.report.definitions import DEFINITIONS
from phases.report.evaluated_run import EvaluatedRun, compare_with_result_json
from phases.report.measures import (
    compute_curves,
    find_extreme_queries,
    map_features,
    measure_confusion,
    measure_distances,
    summarize_separations,
)
from phases.test import evaluate_hash_codes
from retrieval import metrics
from run import results
from run.config import Config
from run.provenance import provenance
from utils.tracking import read_scalars

Record = dict[str, Any]


def make_record(run: EvaluatedRun) -> Record:
    """All numbers of a run's page, as plain values for JSON. The plots are drawn from them."""
    config, model, evaluation = run.config, run.model, run.evaluation
    data = model.data
    hash_maps = evaluate_hash_maps(run)
    return {
        "run": config.save_path,
        "step": model.step,
        "dataset": config.data.dataset,
        "distance": config.test.test_distance,
        "mirror": config.test.mirror,
        "metrics": evaluation.metrics,
        "chance": evaluation.chance,
        "MAP_interval": confidence_interval(evaluation.ap),
        "AP": [None if math.isnan(value) else 100 * value for value in evaluation.ap.tolist()],
        "differs_from_result_json": compare_with_result_json(run, hash_maps),
        "counts": results.build_counts(evaluation, data),
        "training": read_training_curves(config),
        **compute_curves(run),
        "per_category_MAP": {
            data.categories[label]: value for label, value in evaluation.per_category.items()
        },
        "queries": find_extreme_queries(run),
        "confusion": measure_confusion(run),
        "map": map_features(run),
        "distances": measure_distances(run),
        "separation": summarize_separations(run),
        "hash": {str(bits): value for bits, value in hash_maps.items()},
        "domain_bit": measure_domain_bit(run),
        "published": find_published(config, len(data.categories), zero_shot=data.zero_shot),
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
    if len(known) < 2:
        return 0.0
    return float(100 * 1.96 * known.std(ddof=1) / math.sqrt(len(known)))


def read_training_curves(config: Config) -> dict[str, list[float]]:
    """The columns of log/scalars.csv, without rows that are not finite; empty if there is no such file."""
    rows = read_scalars(config.folder / "log" / "scalars.csv")
    rows = [row for row in rows if all(map(math.isfinite, row.values()))]
    if not rows:
        return {}
    return {name: [row[name] for row in rows] for name in rows[0]}


def evaluate_hash_maps(run: EvaluatedRun) -> dict[int, float]:
    """Mean MAP over the fits of hash codes, in percent, by their number of bits."""
    hash_fits = evaluate_hash_codes(run.model.centers, run.sketches, run.photos, run.config)
    return {bits: results.summarize_fits(fits)["MAP"] for bits, fits in hash_fits.items()}


def find_published(config: Config, categories: int, *, zero_shot: bool) -> dict[str, Any]:
    """Numbers printed elsewhere for this data set and protocol, or why there are none ("missing")."""
    columns = tuple(map(str, BITS))
    rows = [
        method
        for method in (*published_features("MAP"), *published_hash_codes(columns))
        if config.data.dataset in method.values
    ]
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
            {"method": method.label, "source": method.source, **method.values[config.data.dataset]}
            for method in rows
        ],
    }
