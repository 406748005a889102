"""A run tested once more for its report: what the measurements of the page start from.

It is the test of phases/test with the same config, on cached features where there are any, so its numbers
are those of log/result.json; that file is read only to compare.
"""

import logging
from dataclasses import dataclass

import numpy as np
import torch

from phases.test import drop_mirrored, rank_photos
from retrieval.metrics import Evaluation, evaluate
from retrieval.ranking import Ranking
from retrieval.search import nearest
from run import checkpoint, results
from run.checkpoint import TestableCheckpoint
from run.config import Config
from run.features import Features, embed_test_set
from utils.device import pick_device
from utils.errors import UserError

log = logging.getLogger(__name__)

TOP = 10  # nearest photos that are looked at
SAME = 1e-6  # percent: figures of one computation are no further apart


@dataclass(frozen=True)
class EvaluatedRun:
    """A trained network, its features as the test takes them (one mirror or two), and what was found.

    `rankings` and `found` are of all test sketches; `positions` (Q, 10) of the photos nearest to each.
    """

    config: Config
    model: TestableCheckpoint
    device: torch.device
    sketches: Features
    photos: Features
    rankings: list[Ranking]
    found: Evaluation
    positions: np.ndarray

    @property
    def memory(self) -> int:
        """Bytes for distances."""
        return self.config.test.eval_memory * 2**20


def evaluate_run(config: Config) -> EvaluatedRun:
    """Test the checkpoint of --pretrained_model in the run's folder. Raises UserError as a test does.

    Rankings are kept: about 32 bytes per query and positive, 120 MB for Sketchy and 65 MB for TU-Berlin.
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
    positions, _ = nearest(
        sketches.values, photos.values, config.test.test_distance, TOP, memory=memory, device=device
    )
    found = evaluate(rankings, sketches.labels)
    return EvaluatedRun(config, model, device, sketches, photos, rankings, found, positions)


def compared_with_result_json(
    run: EvaluatedRun, hashed: dict[int, float]
) -> dict[str, dict[str, float]] | None:
    """Figures that differ from the record of this test in log/result.json: name -> here and there.

    Empty if all are the same, None if that file has no record of this step, distance and lists. Hash codes
    are compared if they were fitted with the same seeds and gradient.
    """
    config, model = run.config, run.model
    wanted = (model.step, config.test.test_distance, config.test.mirror)
    for record in results.read_records(config.folder / "log" / "result.json"):
        if results.record_key(record) == wanted and record["lists"] == model.data.digest():
            here, there = dict(run.found.metrics), dict(record["metrics"])
            same = (config.seed, config.test.hash_gradient)
            if (record["seed"], record["hash_gradient"]) == same:
                here |= {f"hash MAP, {bits} bits": value for bits, value in hashed.items()}
                there |= {f"hash MAP, {bits} bits": each["MAP"] for bits, each in record["hash"].items()}
            return {
                name: {"here": here[name], "result.json": there[name]}
                for name in here
                if name in there and abs(here[name] - there[name]) > SAME
            }
    return None
