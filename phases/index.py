"""--phase=index: embed a gallery and build an index ahead of the first search, or compare all indices on the
test set (--evaluate)."""

import argparse
import logging
from collections.abc import Iterator
from time import perf_counter

import numpy as np
import torch

from phases.search.gallery import load_checkpoint, open_gallery
from phases.search.indices import Index, check_index, open_index
from retrieval import INDICES
from retrieval.metrics import evaluate
from retrieval.ranking import Ranking, rank_positives
from run import checkpoint as checkpoints
from run.checkpoint import TestableCheckpoint
from run.config import DATASET, Config, config_from_options
from run.features import embed_test_set
from run.next_command import log_next_command
from run.provenance import provenance
from utils.device import pick_device
from utils.errors import UserError
from utils.files import remove_stale_temporaries, write_json
from utils.locks import folder_lock

log = logging.getLogger(__name__)

RECALL_AT, DEPTH = 10, 1000
WARM_UP = 5  # queries before those that are timed
DEFINITIONS = {
    "recall@10": f"share of the {RECALL_AT} photos nearest by exact distance that the index finds among its "
    f"first {RECALL_AT}, mean over the test sketches, in percent",
    "MAP": f"as in a test, over the first {DEPTH} photos that the index finds; the rest count as tied behind "
    "them. flat and binary: over the whole gallery",
    "chance": "MAP of photos in random order",
    "bytes per photo": "size of the index divided by the number of photos, flips included; hnsw and ivfpq "
    "also read the features of their short lists from the disk, which are what flat holds",
    "queries/s": "test sketches answered with their ten nearest photos, one after the other, without the "
    "time to embed the sketch",
}


def run(options: argparse.Namespace) -> None:
    """Bring the index of --gallery up to date, or with --evaluate compare all indices."""
    config = config_from_options(options)
    if options.evaluate and config.search.gallery != DATASET:
        raise UserError("--evaluate needs the test set: leave out --gallery")
    device = pick_device(config.machine)
    if options.evaluate:
        testable = checkpoints.load(config)
        testable.network.to(device)
        with folder_lock(testable.config.folder):
            compare_indices(testable, device)
        log_next_command("index", testable.config)
    else:
        log_next_command("index", build_index(config, device))


def build_index(config: Config, device: torch.device) -> Config:
    """Bring the gallery and its index up to date, and return the config as the checkpoint completes it."""
    checkpoint = load_checkpoint(config)
    config = checkpoint.config
    name = config.search.index
    check_index(name, checkpoint, config)
    checkpoint.network.to(device)
    gallery = open_gallery(checkpoint, device, rebuild=True)
    open_index(name, gallery, checkpoint, config, device)
    photos = len(gallery.names)
    log.info("index %s of %d photos in %s, for step %d", name, photos, gallery.path.parent, checkpoint.step)
    return config


def compare_indices(checkpoint: TestableCheckpoint, device: torch.device) -> None:
    """Compare every index with the exact one on the test sketches; log a table and write evaluation.json."""
    config, data = checkpoint.config, checkpoint.data
    features = embed_test_set(checkpoint.network, data, config, step=checkpoint.step, device=device)
    if features is None:
        return  # only the main process compares
    sketches, _ = features
    gallery = open_gallery(checkpoint, device, rebuild=True)
    label_of = dict(data.gallery)
    gallery_labels = np.array([label_of[name] for name in gallery.names])
    queries = sketches.values[..., : gallery.values.shape[2]]
    exact: list[np.ndarray] = []
    rows: dict[str, dict[str, float]] = {}
    chance = float("nan")
    for title, name, depth, variant in list_variants(config, len(gallery.names)):
        try:
            index = open_index(name, gallery, checkpoint, variant, device)
        except UserError as error:
            log.warning("warning: %s is left out: %s", title, error)
            continue
        nearest, rate = time_queries(index, queries)
        if title == "flat":  # the first one
            exact = nearest
        rankings = [
            rank_first(index, query, gallery_labels == label, depth)
            for query, label in zip(queries, sketches.labels, strict=True)
        ]
        evaluation = evaluate(rankings, sketches.labels)
        chance = evaluation.chance["MAP"]  # the same for every index
        recalls = [np.isin(truth, positions).mean() for truth, positions in zip(exact, nearest, strict=True)]
        rows[title] = {
            "recall@10": 100 * float(np.mean(recalls)),
            "MAP": evaluation.metrics["MAP"],
            "bytes per photo": index.nbytes / len(gallery.names),
            "queries/s": rate,
        }
    write_evaluation(rows, chance, len(queries), len(gallery.names), checkpoint)


def write_evaluation(
    rows: dict[str, dict[str, float]],
    chance: float,
    queries: int,
    photos: int,
    checkpoint: TestableCheckpoint,
) -> None:
    """Log the comparison as a table, and write it to evaluation.json."""
    config = checkpoint.config
    log.info("%-18s %9s %8s %15s %9s", "index", "recall@10", "MAP", "bytes per photo", "queries/s")
    for title, row in rows.items():
        recall, size = row["recall@10"], row["bytes per photo"]
        log.info("%-18s %9.1f %8.3f %15.0f %9.0f", title, recall, row["MAP"], size, row["queries/s"])
    log.info("chance: MAP %.3f, photos in random order", chance)
    path = config.folder / "index" / "evaluation.json"
    remove_stale_temporaries(path.parent)
    write_json(
        path,
        {
            "indices": rows,
            "chance": {"MAP": chance},
            "definitions": DEFINITIONS,
            "counts": {"queries": queries, "gallery": photos},
            "step": checkpoint.step,
            **provenance(config),
        },
    )
    distance = config.test.test_distance
    log.info("%d test sketches, %d photos, %s distance; in %s", queries, photos, distance, path)


def list_variants(config: Config, photos: int) -> Iterator[tuple[str, str, int, Config]]:
    """Every index, flat first: title, name, number of photos that its MAP is computed over, and config."""
    for name in INDICES:
        if name == "binary":
            for bits in config.test.hash_bits:
                yield f"binary, {bits} bits", name, photos, config.with_values(hash_bits=[bits])
        elif name == "flat":
            yield name, name, photos, config
            if photos > DEPTH:  # what the exact index loses by the same cut
                yield f"flat, first {DEPTH}", name, DEPTH, config
        else:
            yield name, name, DEPTH, config


def time_queries(index: Index, queries: np.ndarray) -> tuple[list[np.ndarray], float]:
    """Positions (n,) of the RECALL_AT nearest photos of each query, and queries per second."""
    for query in queries[:WARM_UP]:
        index.search(query, RECALL_AT)
    start = perf_counter()
    positions = [index.search(query, RECALL_AT)[0] for query in queries]
    return positions, len(queries) / (perf_counter() - start)


def rank_first(index: Index, query: np.ndarray, positive: np.ndarray, depth: int) -> Ranking:
    """Ranks of the positives, with all photos behind the first `depth` tied at one distance."""
    distances = np.full(len(positive), np.inf)
    positions, nearest = index.search(query, depth)
    distances[positions] = nearest
    return rank_positives(distances, positive)
