"""--phase=index: features of a gallery and an index over them, ahead of the first search; or all indices
compared on the test set (--evaluate)."""

import argparse
import logging
from collections.abc import Iterator
from time import perf_counter

import numpy as np
import torch

from phases.search import gallery as galleries
from phases.search import indices
from phases.search.indices import Index
from retrieval import INDICES
from retrieval.metrics import evaluate
from retrieval.ranking import Ranking, rank_positives
from run.checkpoint import Checkpoint, TestableCheckpoint
from run.config import DATASET, Config, config_from_options
from run.features import embed_test_set
from run.next_command import announce
from run.provenance import provenance
from utils.device import pick_device
from utils.errors import UserError
from utils.files import remove_stale_temporaries, write_json
from utils.locks import folder_lock

log = logging.getLogger(__name__)

RECALL_AT, DEPTH = 10, 1000
WARM_UP = 5  # queries that are not timed
DEFINITIONS = {
    "recall@10": f"share of the {RECALL_AT} photos nearest by exact distance that the index finds among its "
    f"first {RECALL_AT}, mean over the test sketches, in percent",
    "MAP": f"as in a test, over the first {DEPTH} photos that the index finds; the rest count as tied behind "
    "them. flat and binary: over the whole gallery",
    "chance": "MAP of photos in random order",
    "bytes per photo": "size of the index by the number of photos, mirror images included; hnsw and ivfpq "
    "also read the features of their short lists from the disk, which are what flat holds",
    "queries/s": "test sketches answered with their ten nearest photos, one after the other, features of the "
    "sketch at hand",
}


def run(options: argparse.Namespace) -> None:
    """Bring the index of --gallery up to date, or with --evaluate compare all of them."""
    config = config_from_options(options)
    if options.evaluate and config.search.gallery != DATASET:
        raise UserError("--evaluate needs the test set: leave out --gallery")
    device = pick_device(config.machine)
    weights = galleries.load_checkpoint(config)
    config = weights.config
    weights.network.to(device)
    if options.evaluate:
        assert isinstance(weights, TestableCheckpoint)
        with folder_lock(config.folder):
            compare(weights, config, device)
    else:
        open_index(weights, config, device)
    announce("index", config)


def open_index(weights: Checkpoint, config: Config, device: torch.device) -> None:
    """Bring the index of --gallery up to date."""
    indices.check_index(config.search.index, weights, config)
    gallery = galleries.open_gallery(weights, device, rebuild=True)
    indices.open_index(config.search.index, gallery, weights, config, device)
    log.info(
        "index %s of %d photos in %s, for step %d",
        config.search.index,
        len(gallery.names),
        gallery.path.parent,
        weights.step,
    )


def compare(model: TestableCheckpoint, config: Config, device: torch.device) -> None:
    """Print what every index finds of what the exact one finds, and write it to evaluation.json."""
    features = embed_test_set(model.network, model.data, config, step=model.step, device=device)
    assert features is not None  # one process alone
    sketches = features[0]
    gallery = galleries.open_gallery(model, device, rebuild=True)
    label_of = dict(model.data.gallery)
    labels = np.array([label_of[name] for name in gallery.names])
    queries = sketches.values[..., : gallery.values.shape[2]]
    wanted: list[np.ndarray] = []
    count = len(gallery.names)
    rows: dict[str, dict[str, float]] = {}
    chance = float("nan")
    for title, name, depth, chosen in variants(config, count):
        try:
            index = indices.open_index(name, gallery, model, chosen, device)
        except UserError as error:
            log.warning("warning: %s is left out: %s", title, error)
            continue
        found, rate = timed(index, queries)
        wanted = wanted or found  # flat comes first, and is exact
        pairs = zip(queries, sketches.labels, strict=True)
        rankings = [ranking(index, query, labels == label, depth) for query, label in pairs]
        evaluation = evaluate(rankings, sketches.labels)
        chance = evaluation.chance["MAP"]  # the same for every index
        rows[title] = {
            "recall@10": 100 * float(np.mean([share(a, b) for a, b in zip(wanted, found, strict=True)])),
            "MAP": evaluation.metrics["MAP"],
            "bytes per photo": index.nbytes / count,
            "queries/s": rate,
        }
    show(rows)
    log.info("chance: MAP %.3f, photos in random order", chance)
    path = config.folder / "index" / "evaluation.json"
    remove_stale_temporaries(path.parent)
    write_json(
        path,
        {
            "indices": rows,
            "chance": {"MAP": chance},
            "definitions": DEFINITIONS,
            "counts": {"queries": len(queries), "gallery": count},
            "step": model.step,
            **provenance(config),
        },
    )
    log.info(
        "%d test sketches, %d photos, %s distance; in %s",
        len(queries),
        count,
        config.test.test_distance,
        path,
    )


def variants(config: Config, count: int) -> Iterator[tuple[str, str, int, Config]]:
    """Every index: its title, its name, how many photos its MAP is taken over, and its config."""
    for name in INDICES:
        if name == "binary":
            for bits in config.test.hash_bits:
                yield f"binary, {bits} bits", name, count, config.with_values(hash_bits=[bits])
        else:
            yield name, name, count if name == "flat" else DEPTH, config
            if name == "flat" and count > DEPTH:  # what is lost by looking no further
                yield f"flat, first {DEPTH}", name, DEPTH, config


def timed(index: Index, queries: np.ndarray) -> tuple[list[np.ndarray], float]:
    """Positions (n,) of what is found for each query, and queries per second."""
    for query in queries[:WARM_UP]:
        index.nearest(query, RECALL_AT)
    start = perf_counter()
    found = [index.nearest(query, RECALL_AT)[0] for query in queries]
    return found, len(queries) / (perf_counter() - start)


def ranking(index: Index, query: np.ndarray, positive: np.ndarray, depth: int) -> Ranking:
    """Where the positives stand, if all photos behind the first `depth` are at one and the same distance."""
    distances = np.full(len(positive), np.inf)
    positions, near = index.nearest(query, depth)
    distances[positions] = near
    return rank_positives(distances, positive)


def share(wanted: np.ndarray, found: np.ndarray) -> float:
    """Share of `wanted` positions that are among those `found`."""
    return len(np.intersect1d(wanted, found)) / len(wanted)


def show(rows: dict[str, dict[str, float]]) -> None:
    log.info("%-18s %9s %8s %15s %9s", "index", "recall@10", "MAP", "bytes per photo", "queries/s")
    for title, row in rows.items():
        log.info("%-18s %9.1f %8.3f %15.0f %9.0f", title, *row.values())
