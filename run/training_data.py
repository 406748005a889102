"""What a network was trained on, and whether the searched photos resemble its training photos."""

import logging
from typing import Any

import numpy as np
import torch

from datasets import PHOTO
from datasets.annotations import Annotation
from datasets.loaders import ImageSet
from retrieval.embed import embed
from retrieval.familiarity import FOREIGN, familiarity_limit, foreign_fraction
from run.checkpoint import Checkpoint, TestableCheckpoint
from run.config import DATASET, Config
from run.features import feature_paths, weights_digest
from run.input import photo_transform
from run.network import build
from utils.errors import UserError, one_line
from utils.files import read_json

log = logging.getLogger(__name__)

TRAINING_SAMPLE = 128  # training photos that the limit is computed from
GALLERY_SAMPLE = 1000  # photos of a gallery that are compared with the limit
MAX_LISTED = 12  # categories
BATCH_SIZE = 16  # photos per batch


def describe_training(weights: Checkpoint) -> str:
    """The training data as text: "trained on demo: 12 drawn shapes: arrow, ball, ..."."""
    dataset = weights.options.get("dataset")
    categories = weights.data.categories if isinstance(weights, TestableCheckpoint) else weights.categories
    if weights.centers is None or not (dataset or categories):
        return "trained on data that its checkpoint does not name"
    names = [one_line(name.replace("_", " ")) for name in categories[: len(weights.centers)]]
    kind = "drawn shapes" if dataset == "demo" else "categories"
    text = (
        f"trained on {one_line(str(dataset or 'a data set without a name'))}: {len(weights.centers)} {kind}"
    )
    return text + (
        f": {', '.join(names[:MAX_LISTED])}{', ...' if len(names) > MAX_LISTED else ''}" if names else ""
    )


def warn_about_foreign_photos(weights: Checkpoint, features: np.ndarray, config: Config) -> str | None:
    """A warning if the photos with `features` (N, f_dim, M) are unlike those of the training, else None.

    Also None if that is unknown: without class centres, or without training photos to compare with.
    """
    if weights.centers is None or config.search.gallery == DATASET:
        return None
    limit = weights.familiarity_limit
    if limit is None:
        limit = compute_limit_from_test(weights, config)
    if limit is None:
        return None
    rows = np.linspace(0, len(features) - 1, min(GALLERY_SAMPLE, len(features))).astype(int)
    fraction = foreign_fraction(features[rows, :, 0], weights.centers, limit)
    if fraction <= FOREIGN:
        return None
    return (
        f"{fraction:.0%} of these photos are unlike those that the network was trained on: the results may "
        "have little to do with the drawing"
    )


def compute_limit_from_test(weights: Checkpoint, config: Config) -> float | None:
    """The limit for a checkpoint without one, from cached features of its test if not zero-shot."""
    if weights.centers is None or len(weights.categories) != len(weights.centers):
        return None
    paths, key = feature_paths(config.folder / "vec", weights.step)
    try:
        if read_json(key).get("weights") != weights_digest(weights.network):
            return None
        values = np.load(paths["photo"], mmap_mode="r", allow_pickle=False)[0]  # (N, f_dim), as they are
        rows = np.linspace(0, len(values) - 1, min(GALLERY_SAMPLE, len(values))).astype(int)
        return familiarity_limit(values[rows], weights.centers)
    except (OSError, ValueError, IndexError, AttributeError, UserError):
        return None  # no cached test features of this checkpoint


def measure_familiarity(
    state: dict[str, Any], data: Annotation, config: Config, device: torch.device
) -> float | None:
    """The limit for the network and centres of a training `state`, from TRAINING_SAMPLE of its photos.

    Uses a new network, so that the one in training keeps its mode and compilation.
    """
    with torch.random.fork_rng(devices=[]):
        network = build(config.network)
    network.load_state_dict(state["network"])
    network.to(device)
    positions = np.linspace(
        0, len(data.train_photos) - 1, min(TRAINING_SAMPLE, len(data.train_photos))
    ).astype(int)
    entries = [data.train_photos[position] for position in positions]
    transform = photo_transform(config)
    photos = ImageSet(data.root, entries, PHOTO, transform)
    samples = [pair for pair in (photos[index, 0] for index in range(len(photos))) if isinstance(pair, tuple)]
    if not samples:
        return None
    batches = (
        (
            transform.network_input(torch.stack([pixels for pixels, _ in part]).to(device)),
            torch.zeros(len(part), dtype=torch.int64),
        )
        for part in (samples[start : start + BATCH_SIZE] for start in range(0, len(samples), BATCH_SIZE))
    )
    try:
        features = torch.cat([pair[0].cpu() for pair in embed(network, batches, domain=PHOTO, device=device)])
    except RuntimeError as error:  # out of memory, for example, is no reason to lose a trained network
        log.warning("warning: the checkpoint has no limit for foreign photos: %s", str(error).splitlines()[0])
        return None
    return familiarity_limit(features.numpy(), state["loss"]["centers"].cpu().numpy())
