"""The margin condition: what the margin implies for the centres, and what the features do."""

import logging
from typing import Any

import numpy as np
import torch

from retrieval.separation import (
    MARGIN_NEEDED,
    Separation,
    implied_separation,
    measure_separation,
    nearest_other,
    share_inside,
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
    """The margin condition over centres, photos, test sketches and both; logged, and drawn as a figure."""
    categories = model.data.categories
    sides = sides_of(sketches, photos)
    found = separations(model, sides, config, device)
    record: dict[str, Any] = {
        "definition": DEFINITION,
        "margin": config.loss.margin if config.loss.loss_type == "mems" else None,
        "margin_needed": MARGIN_NEEDED,
        **{name: as_record(each, categories) for name, each in found.items()},
    }
    if model.centers is not None and len(model.centers) == len(categories) > 1:
        nearest = {"nearest_other": by_category(nearest_other(model.centers), categories)}
        record["centers"] = nearest | record.get("centers", {})
        if "centers" in found:
            for name, side in sides.items():
                record[name]["inside"] = share_inside(*side, model.centers, config.loss.margin or 1.0)
    for line in summary(record):
        log.info("%s", line)
    save_margin_condition(
        {
            text: (found[name].max_intra, found[name].min_inter)
            for name, text in TITLES.items()
            if name in found
        },
        config.folder / "log" / "margin_condition.png",
        title=f"{config.save_path}, step {model.step}",
    )
    return record


def sides_of(sketches: Features, photos: Features) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Features as they are (N, f_dim), and labels (N,), of photos, of test sketches and of both."""
    sides = {
        "photos": (photos.values[..., 0], photos.labels),
        "sketches": (sketches.values[..., 0], sketches.labels),
    }
    values, labels = zip(*sides.values(), strict=True)
    return {**sides, "all": (np.concatenate(values), np.concatenate(labels))}


def separations(
    model: TestableCheckpoint,
    sides: dict[str, tuple[np.ndarray, np.ndarray]],
    config: Config,
    device: torch.device,
) -> dict[str, Separation]:
    """Of every side, and as "centers" what the margin implies for the centres, if it is that of MEMS."""
    classes = len(model.data.categories)
    found = {name: measure_separation(*side, classes, device) for name, side in sides.items()}
    if config.loss.loss_type == "mems" and model.centers is not None and len(model.centers) == classes > 1:
        found["centers"] = implied_separation(model.centers, config.loss.margin or 1.0)
    return found


def as_record(found: Separation, categories: list[str]) -> dict[str, Any]:
    return {
        "share": found.share,
        "max_intra": by_category(found.max_intra, categories),
        "min_inter": by_category(found.min_inter, categories),
    }


def by_category(values: np.ndarray, categories: list[str]) -> dict[str, float | None]:
    """None where a distance is not known or not finite: JSON has no word for that."""
    return {
        name: float(value) if np.isfinite(value) else None
        for name, value in zip(categories, values, strict=True)
    }


def summary(record: dict[str, Any]) -> list[str]:
    """The condition in a few lines for the log."""
    lines = []
    margin = record["margin"]
    if margin is not None:
        word = "reaches" if margin >= MARGIN_NEEDED else "is below"
        lines.append(f"margin condition: m = {margin:g} {word} 2 + sqrt(3) = {MARGIN_NEEDED:.3f}")
    else:
        lines.append("margin condition, over the features alone: there is no margin of MEMS")
    for name in ("photos", "sketches", "all"):
        inside = record[name].get("inside")
        lines.append(
            f"  {TITLES[name]}: max intra < min inter in {record[name]['share']:.1f} % of the categories"
            + (f", {inside:.1f} % of features inside their boundaries" if inside is not None else "")
        )
    return lines
