"""Test a run once more for its report, and keep the rankings, from which the page's numbers are computed.

This is the test of phases/test with the same config, on cached features if there are any, so its metrics
equal those of log/result.json; that file is only read to compare.
"""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from phases.test import drop_mirrored, rank_photos
from retrieval.metrics import Evaluation, evaluate
from retrieval.ranking import Ranking
from retrieval.search import find_nearest
from run import checkpoint, results
from run.checkpoint import TestableCheckpoint
from run.config import Config
from run.features import Features, embed_test_set
from utils.device import pick_device
from utils.errors import UserError

log = logging.getLogger(__name__)

TOP = 10  # nearest photos per query
TOLERANCE = 1e-6  # percent: metrics of the same computation differ by less


@dataclass(frozen=True)
class EvaluatedRun:
    """A trained network, its features as the test uses them (with mirror images or without), and its test.

    `rankings` has one per test sketch; `positions` (Q, 10) are those of the nearest photos in the gallery.
    """

    config: Config
    model: TestableCheckpoint
    device: torch.device
    sketches: Features
    photos: Features
    rankings: list[Ranking]
    evaluation: Evaluation
    positions: np.ndarray

    @property
    def memory(self) -> int:
        """Bytes that a block of distances may take."""
        return self.config.test.eval_memory * 2**20


def evaluate_run(config: Config) -> EvaluatedRun:
    """Test the checkpoint of --pretrained_model in the run's folder. Raises UserError as a test does.

    The rankings take about 32 bytes per query and positive, 120 MB for Sketchy and 65 MB for TU-Berlin.
    """
    model = checkpoint.load(config)
    config = model.config
    device = pick_device(config.machine)
    log.info(
        "report of step %d of %s, tested on %s (%d sketches against %d photos), on %s",
        model.step,
        config.folder,
        config.data.dataset,
        len(model.data.test_sketches),
        len(model.data.gallery),
        device,
    )
    features = embed_test_set(model.network.to(device), model.data, config, step=model.step, device=device)
    if features is None:
        raise UserError("--phase=report runs in one process")
    sketches, photos = features
    if config.test.mirror == "off":
        sketches, photos = drop_mirrored(sketches), drop_mirrored(photos)
    memory = config.test.eval_memory * 2**20
    rankings = list(rank_photos(sketches, photos, config, device))
    positions, _ = find_nearest(
        sketches.values, photos.values, config.test.test_distance, TOP, memory=memory, device=device
    )
    evaluation = evaluate(rankings, sketches.labels)
    return EvaluatedRun(config, model, device, sketches, photos, rankings, evaluation, positions)


def compare_with_result_json(
    run: EvaluatedRun, hash_maps: dict[int, float]
) -> dict[str, dict[str, float]] | None:
    """Metrics that differ from the record of this test in log/result.json: name -> "here", "result.json".

    Empty if all are equal, None if that file has no record of this step, distance and lists. `hash_maps`, MAP
    by number of bits, is compared if the codes were fitted with the same seeds and gradient.
    """
    record = find_record(run)
    if record is None:
        return None
    here, recorded = dict(run.evaluation.metrics), dict(record["metrics"])
    if (record["seed"], record["hash_gradient"]) == (run.config.seed, run.config.test.hash_gradient):
        here |= {f"hash MAP, {bits} bits": value for bits, value in hash_maps.items()}
        recorded |= {f"hash MAP, {bits} bits": fits["MAP"] for bits, fits in record["hash"].items()}
    return {
        name: {"here": value, "result.json": recorded[name]}
        for name, value in here.items()
        if name in recorded and abs(value - recorded[name]) > TOLERANCE
    }


def find_record(run: EvaluatedRun) -> dict[str, Any] | None:
    """The record of this test in log/result.json, None if there is none."""
    key = (run.model.step, run.config.test.test_distance, run.config.test.mirror)
    for record in results.read_records(run.config.folder / "log" / "result.json"):
        if results.get_record_key(record) == key and record["lists"] == run.model.data.digest():
            return record
    return None
