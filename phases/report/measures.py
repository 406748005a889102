"""What the page of a report shows of the features, as numbers: one function per figure, in plain values."""

import logging
import random
from typing import Any

import numpy as np

from phases.report.evaluated_run import EvaluatedRun
from phases.test.margin_condition import TITLES, group_features, measure_separations
from retrieval.curves import confusion, curves
from retrieval.distances import distance_chunks
from retrieval.projection import project
from utils.errors import UserError

log = logging.getLogger(__name__)

RANKS = 1000  # of the curve of P@K
SHOWN_QUERIES = 8
MAP_POINTS, MAP_CATEGORIES = 2000, 20
PAIRS, BINS = (500, 20_000), 60  # sketches and photos whose distances are taken; bars of their histogram


def retrieval_curves(run: EvaluatedRun) -> dict[str, Any]:
    """Precision by recall and by rank, in percent."""
    found = curves(run.rankings, RANKS)
    return {
        "precision_recall": {
            "recall": list(range(101)),
            "precision": (100 * found.by_recall).tolist(),
            "chance": 100 * found.chance,
        },
        "precision_at": {
            "k": list(range(1, len(found.by_rank) + 1)),
            "precision": (100 * found.by_rank).tolist(),
            "best_possible": (100 * found.best_by_rank).tolist(),
        },
    }


def chosen_queries(ap: np.ndarray, labels: np.ndarray, *, best: bool) -> list[int]:
    """Positions of the queries to show, the most extreme first; at most half of those that have an AP."""
    order = np.argsort(-ap if best else ap, kind="stable")
    order = order[~np.isnan(ap[order])]
    count = max(1, min(SHOWN_QUERIES, len(order) // 2))
    _, first = np.unique(labels[order], return_index=True)  # the first of every category
    others = np.setdiff1d(np.arange(len(order)), first)
    places = np.concatenate([np.sort(first), others])[:count]
    return order[np.sort(places)].tolist()


def extreme_queries(run: EvaluatedRun) -> dict[str, Any]:
    """The best and the worst test sketches, with the photos nearest to them."""
    data, ap = run.model.data, run.found.ap

    def described(query: int) -> dict[str, Any]:
        path, label = data.test_sketches[query]
        photos = [data.gallery[position] for position in run.positions[query]]
        return {
            "sketch": path,
            "category": data.categories[label],
            "AP": float(100 * ap[query]),
            "photos": [{"photo": name, "category": data.categories[each]} for name, each in photos],
        }

    return {
        name: [described(query) for query in chosen_queries(ap, run.sketches.labels, best=name == "best")]
        for name in ("best", "worst")
    }


def confused_categories(run: EvaluatedRun) -> dict[str, Any]:
    """Which categories the nearest photos of each category's sketches are of, in percent."""
    categories = run.model.data.categories
    found_labels = run.photos.labels[run.positions]
    share = 100 * confusion(run.sketches.labels, found_labels, len(categories))
    asked = np.flatnonzero(~np.isnan(share[:, 0]))
    held = np.flatnonzero(np.isin(np.arange(len(categories)), run.photos.labels))
    return {
        "top": run.positions.shape[1],
        "rows": [categories[label] for label in asked],
        "columns": [categories[label] for label in held],
        "share": share[np.ix_(asked, held)].tolist(),
    }


def feature_map(run: EvaluatedRun) -> dict[str, Any]:
    """A map of features of both domains; or, without the package it takes, what to install."""
    data, config = run.model.data, run.config
    draw = random.Random(config.seed)
    labels = sorted(set(run.sketches.labels.tolist()) & set(run.photos.labels.tolist()))
    shown = sorted(draw.sample(labels, min(MAP_CATEGORIES, len(labels))))
    quota = MAP_POINTS // (2 * len(shown))
    features, points = [], []
    for domain, side in (("photo", run.photos), ("sketch", run.sketches)):
        for label in shown:
            positions = np.flatnonzero(side.labels == label).tolist()
            chosen = sorted(draw.sample(positions, min(quota, len(positions))))
            features.append(side.values[chosen, :, 0])
            points += [{"domain": domain, "category": data.categories[label]} for _ in chosen]
    try:
        found = project(
            np.concatenate(features), angular=config.test.test_distance == "angular", seed=config.seed
        )
    except UserError as error:
        log.warning("warning: no map of the features: %s", error)
        return {"missing": str(error)}
    return {
        "categories_shown": len(shown),
        "categories": len(labels),
        "points": [{**point, "x": x, "y": y} for point, (x, y) in zip(points, found.tolist(), strict=True)],
    }


def pair_distances(run: EvaluatedRun) -> dict[str, Any]:
    """Histograms of sketch-photo distances inside a category and between categories."""
    config = run.config
    draw = np.random.default_rng(config.seed)
    sketches, photos = (
        np.sort(draw.choice(len(side.labels), min(limit, len(side.labels)), replace=False))
        for side, limit in zip((run.sketches, run.photos), PAIRS, strict=True)
    )
    values = run.sketches.values[sketches], run.photos.values[photos]
    chunks = distance_chunks(*values, config.test.test_distance, memory=run.memory, device=run.device)
    squares = np.concatenate([chunk.near.copy() for chunk in chunks])
    if config.test.test_distance == "angular":
        distances = np.degrees(np.arccos(np.clip(1 - squares / 2, -1, 1)))  # from 2 - 2 cos
    else:
        distances = np.sqrt(squares)
    same = run.sketches.labels[sketches][:, None] == run.photos.labels[photos]
    edges = np.linspace(0, max(float(distances.max()), 1e-9), BINS + 1)
    kinds = {"same category": distances[same], "other category": distances[~same]}
    return {
        "unit": "angle in degrees"
        if config.test.test_distance == "angular"
        else "Euclidean distance (not squared)",
        "sketches": len(sketches),
        "photos": len(photos),
        "edges": edges.tolist(),
        "share": {
            name: (100 * np.histogram(each, edges)[0] / len(each)).tolist()
            for name, each in kinds.items()
            if len(each)
        },
        "median": {name: float(np.median(each)) for name, each in kinds.items() if len(each)},
    }


def separation(run: EvaluatedRun) -> dict[str, Any] | None:
    """Largest distance inside each category and smallest to another; None if not asked for."""
    config, model = run.config, run.model
    if config.test.margin_condition == "off":
        return None
    found = measure_separations(model, group_features(run.sketches, run.photos), config, run.device)
    return {
        TITLES[name]: {
            "share": each.share,
            "max_intra": finite(each.max_intra),
            "min_inter": finite(each.min_inter),
        }
        for name in TITLES
        if (each := found.get(name)) is not None
    }


def finite(values: np.ndarray) -> list[float | None]:
    """None where a value is not known or not finite: JSON has no word for that."""
    return [float(value) if np.isfinite(value) else None for value in values]
