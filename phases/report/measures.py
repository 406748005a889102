"""The numbers behind the plots of a report: one function per plot, with plain values for JSON."""

import logging
import random
from typing import Any

import numpy as np

from phases.report.evaluated_run import EvaluatedRun
from phases.test.margin_condition import TITLES, group_features, measure_separations
from retrieval.curves import average_curves, confusion_matrix
from retrieval.distances import distance_chunks
from retrieval.projection import project_to_plane
from utils.errors import UserError

log = logging.getLogger(__name__)

RANKS = 1000  # largest K of the P@K curve
SHOWN_QUERIES = 8  # at each end
MAP_POINTS, MAP_CATEGORIES = 2000, 20  # at most, in the map of the features
DISTANCE_SKETCHES, DISTANCE_PHOTOS, BINS = 500, 20_000, 60  # at most, in the histogram of the distances


def compute_curves(run: EvaluatedRun) -> dict[str, Any]:
    """Precision by recall and by rank, in percent."""
    result = average_curves(run.rankings, RANKS)
    return {
        "precision_recall": {
            "recall": list(range(101)),
            "precision": (100 * result.by_recall).tolist(),
            "chance": 100 * result.chance,
        },
        "precision_at": {
            "k": list(range(1, len(result.by_rank) + 1)),
            "precision": (100 * result.by_rank).tolist(),
            "best_possible": (100 * result.best_by_rank).tolist(),
        },
    }


def choose_queries(ap: np.ndarray, labels: np.ndarray, *, best: bool) -> list[int]:
    """Positions of the queries with the best or worst AP, the most extreme first.

    They come from as many categories as possible, and are at most half of the queries that have an AP.
    """
    order = np.argsort(-ap if best else ap, kind="stable")
    order = order[~np.isnan(ap[order])]
    count = max(1, min(SHOWN_QUERIES, len(order) // 2))
    _, first = np.unique(labels[order], return_index=True)  # the first of every category
    others = np.setdiff1d(np.arange(len(order)), first)
    chosen = np.concatenate([np.sort(first), others])[:count]
    return order[np.sort(chosen)].tolist()


def find_extreme_queries(run: EvaluatedRun) -> dict[str, Any]:
    """The best and the worst test sketches, with the photos nearest to them."""
    data, ap, labels = run.model.data, run.evaluation.ap, run.sketches.labels

    def describe_query(query: int) -> dict[str, Any]:
        path, label = data.test_sketches[query]
        photos = [data.gallery[position] for position in run.positions[query]]
        return {
            "sketch": path,
            "category": data.categories[label],
            "AP": float(100 * ap[query]),
            "photos": [{"photo": name, "category": data.categories[label]} for name, label in photos],
        }

    return {
        "best": [describe_query(query) for query in choose_queries(ap, labels, best=True)],
        "worst": [describe_query(query) for query in choose_queries(ap, labels, best=False)],
    }


def measure_confusion(run: EvaluatedRun) -> dict[str, Any]:
    """The categories of the photos nearest to each category's sketches, in percent."""
    categories = run.model.data.categories
    nearest_labels = run.photos.labels[run.positions]
    share = 100 * confusion_matrix(run.sketches.labels, nearest_labels, len(categories))
    rows = np.flatnonzero(~np.isnan(share[:, 0]))  # categories with test sketches
    columns = np.flatnonzero(np.isin(np.arange(len(categories)), run.photos.labels))
    return {
        "top": run.positions.shape[1],
        "rows": [categories[label] for label in rows],
        "columns": [categories[label] for label in columns],
        "share": share[np.ix_(rows, columns)].tolist(),
    }


def map_features(run: EvaluatedRun) -> dict[str, Any]:
    """A t-SNE map of features of both domains; if its package is not installed, what to install."""
    data, config = run.model.data, run.config
    rng = random.Random(config.seed)
    labels = sorted(set(run.sketches.labels.tolist()) & set(run.photos.labels.tolist()))
    shown = sorted(rng.sample(labels, min(MAP_CATEGORIES, len(labels))))
    points_per_category = MAP_POINTS // (2 * len(shown))
    values, points = [], []
    for domain, features in (("photo", run.photos), ("sketch", run.sketches)):
        for label in shown:
            positions = np.flatnonzero(features.labels == label).tolist()
            chosen = sorted(rng.sample(positions, min(points_per_category, len(positions))))
            values.append(features.values[chosen, :, 0])
            points += [{"domain": domain, "category": data.categories[label]} for _ in chosen]
    try:
        coordinates = project_to_plane(
            np.concatenate(values), angular=config.test.test_distance == "angular", seed=config.seed
        )
    except UserError as error:
        log.warning("warning: no map of the features: %s", error)
        return {"missing": str(error)}
    return {
        "categories_shown": len(shown),
        "categories": len(labels),
        "points": [
            {**point, "x": x, "y": y} for point, (x, y) in zip(points, coordinates.tolist(), strict=True)
        ],
    }


def measure_distances(run: EvaluatedRun) -> dict[str, Any]:
    """Histograms of sketch-photo distances inside a category and between categories, of a random sample."""
    is_angular = run.config.test.test_distance == "angular"
    rng = np.random.default_rng(run.config.seed)
    num_sketches = min(DISTANCE_SKETCHES, len(run.sketches.labels))
    num_photos = min(DISTANCE_PHOTOS, len(run.photos.labels))
    sketches = np.sort(rng.choice(len(run.sketches.labels), num_sketches, replace=False))
    photos = np.sort(rng.choice(len(run.photos.labels), num_photos, replace=False))
    chunks = distance_chunks(
        run.sketches.values[sketches],
        run.photos.values[photos],
        run.config.test.test_distance,
        memory=run.memory,
        device=run.device,
    )
    squares = np.concatenate([chunk.approx.copy() for chunk in chunks])
    if is_angular:
        cosines = 1 - squares / 2  # between unit vectors the squared distance is 2 - 2 cos
        distances = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
    else:
        distances = np.sqrt(squares)
    same = run.sketches.labels[sketches][:, None] == run.photos.labels[photos]
    edges = np.linspace(0, max(float(distances.max()), 1e-9), BINS + 1)
    kinds = {"same category": distances[same], "other category": distances[~same]}
    return {
        "unit": "angle in degrees" if is_angular else "Euclidean distance (not squared)",
        "sketches": len(sketches),
        "photos": len(photos),
        "edges": edges.tolist(),
        "share": {
            name: (100 * np.histogram(distances, edges)[0] / len(distances)).tolist()
            for name, distances in kinds.items()
            if len(distances)
        },
        "median": {name: float(np.median(distances)) for name, distances in kinds.items() if len(distances)},
    }


def summarize_separations(run: EvaluatedRun) -> dict[str, Any] | None:
    """The largest distance inside each category and the smallest to another; None if switched off."""
    if run.config.test.margin_condition == "off":
        return None
    groups = group_features(run.sketches, run.photos)
    separations = measure_separations(run.model, groups, run.config, run.device)
    return {
        title: {
            "share": separations[name].percent_separated,
            "max_intra": list_finite(separations[name].max_intra),
            "min_inter": list_finite(separations[name].min_inter),
        }
        for name, title in TITLES.items()
        if name in separations
    }


def list_finite(values: np.ndarray) -> list[float | None]:
    """The values, with None where one is not finite, which JSON cannot hold."""
    return [float(value) if np.isfinite(value) else None for value in values]
