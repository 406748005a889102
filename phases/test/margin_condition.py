"""The margin condition (docs/metrics.md): what the margin implies for the centres, and what features do."""

import logging
from typing import Any

import numpy as np
import torch

from retrieval.separation import (
    MARGIN_NEEDED,
    Separation,
    implied_separation,
    measure_separation,
    nearest_center_distances,
    percent_inside_boundaries,
)
from run.checkpoint import TestableCheckpoint
from run.config import Config
from run.features import Features
from run.plots import save_margin_condition

log = logging.getLogger(__name__)

TITLES = {
    "centers": "centres: what the margin implies",
    "photos": "photos",
    "sketches": "test sketches",
    "all": "photos and test sketches",
}
DEFINITION = (
    "per category, Euclidean distances of features as is (not mirrored): max_intra is the largest inside the "
    "category, min_inter the smallest to another; share: percent of categories with max_intra < min_inter. "
    "centers: nearest_other is the distance to the nearest other centre D, and for MEMS with margin m "
    "max_intra is 2 m D / (m^2 - 1) and min_inter D (m - 1) / (m + 1), which holds if every feature lies "
    "inside its boundaries. inside: percent of features that do, m |f - c_y| < |f - c_j| for all j but y"
)


def measure(
    model: TestableCheckpoint, sketches: Features, photos: Features, config: Config, device: torch.device
) -> dict[str, Any]:
    """Measure the margin condition over centres, photos, test sketches and both; log it and plot it.

    Returns the record for result.json.
    """
    categories = model.data.categories
    groups = group_features(sketches, photos)
    separations = measure_separations(model, groups, config, device)
    record: dict[str, Any] = {
        "definition": DEFINITION,
        "margin": config.loss.margin if config.loss.loss_type == "mems" else None,
        "margin_needed": MARGIN_NEEDED,
    }
    for name, separation in separations.items():
        record[name] = {
            "share": separation.percent_separated,
            "max_intra": by_category(separation.max_intra, categories),
            "min_inter": by_category(separation.min_inter, categories),
        }
    if model.centers is not None and len(model.centers) == len(categories) > 1:
        nearest = {"nearest_other": by_category(nearest_center_distances(model.centers), categories)}
        record["centers"] = nearest | record.get("centers", {})
        if "centers" in separations:
            for name, (values, labels) in groups.items():
                record[name]["inside"] = percent_inside_boundaries(
                    values, labels, model.centers, config.loss.margin or 1.0
                )
    for line in describe(record):
        log.info("%s", line)
    save_margin_condition(
        {
            title: (separations[name].max_intra, separations[name].min_inter)
            for name, title in TITLES.items()
            if name in separations
        },
        config.folder / "log" / "margin_condition.png",
        title=f"{config.save_path}, step {model.step}",
    )
    return record


def group_features(sketches: Features, photos: Features) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Features without their mirror images, (N, f_dim), and labels (N,): photos, test sketches and both."""
    photo_values, sketch_values = photos.values[..., 0], sketches.values[..., 0]
    return {
        "photos": (photo_values, photos.labels),
        "sketches": (sketch_values, sketches.labels),
        "all": (
            np.concatenate([photo_values, sketch_values]),
            np.concatenate([photos.labels, sketches.labels]),
        ),
    }


def measure_separations(
    model: TestableCheckpoint,
    groups: dict[str, tuple[np.ndarray, np.ndarray]],
    config: Config,
    device: torch.device,
) -> dict[str, Separation]:
    """The separation of each group, and as "centers" what the margin of MEMS implies for the centres."""
    num_classes = len(model.data.categories)
    separations = {
        name: measure_separation(values, labels, num_classes, device)
        for name, (values, labels) in groups.items()
    }
    # not for zero-shot lists, whose unseen categories have no centre
    if (
        config.loss.loss_type == "mems"
        and model.centers is not None
        and len(model.centers) == num_classes > 1
    ):
        separations["centers"] = implied_separation(model.centers, config.loss.margin or 1.0)
    return separations


def by_category(values: np.ndarray, categories: list[str]) -> dict[str, float | None]:
    """The values (C,) by category; None where one is not finite, which JSON cannot hold."""
    return {
        name: float(value) if np.isfinite(value) else None
        for name, value in zip(categories, values, strict=True)
    }


def describe(record: dict[str, Any]) -> list[str]:
    """The lines for the log."""
    margin = record["margin"]
    if margin is None:
        lines = ["margin condition, of the features alone: the loss has no margin of MEMS"]
    else:
        relation = "reaches" if margin >= MARGIN_NEEDED else "is below"
        lines = [f"margin condition: m = {margin:g} {relation} 2 + sqrt(3) = {MARGIN_NEEDED:.3f}"]
    for name in ("photos", "sketches", "all"):
        share = record[name]["share"]
        line = f"  {TITLES[name]}: max intra < min inter in {share:.1f} % of the categories"
        if "inside" in record[name]:
            line += f", {record[name]['inside']:.1f} % of features inside their boundaries"
        lines.append(line)
    return lines
