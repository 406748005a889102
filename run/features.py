"""Features of the test sketches and of the gallery, cached below logs/<save_path>/vec for the next test.

They are written batch by batch to files (2, N, f_dim) float32, of the images and of their mirror images. The
files are then memory-mapped: a gallery need not fit into memory. feature_files.py reads and checks the files.
"""

import hashlib
import logging
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from datasets import PHOTO, SKETCH
from datasets.annotations import Annotation
from datasets.images import PIXEL_VERSION
from datasets.loaders import ImageSet, ordered_batches
from retrieval.embed import embed
from run import provenance
from run.cached_pixels import load_cached_pixels
from run.config import Config
from run.feature_files import create_feature_file, load_cached_features, map_features
from run.input import photo_transform, sketch_transform
from utils import distributed
from utils.checksums import sha256
from utils.errors import Diverged
from utils.files import atomic_write, hash_stats, remove_stale_temporaries, write_json

log = logging.getLogger(__name__)

# Of files of features; raise it when what they hold changes
FEATURE_FORMAT = 2


@dataclass(frozen=True)
class Features:
    """`values` (N, f_dim, 2) float32, of images and mirror images, memory-mapped; `labels` (N,) int64."""

    values: np.ndarray
    labels: np.ndarray


def embed_test_set(
    network: nn.Module, data: Annotation, config: Config, *, step: int, device: torch.device
) -> tuple[Features, Features] | None:
    """Features of the test sketches and of the gallery, from the cache in `vec` if it is up to date.

    Several processes embed together; rank 0 returns the features, the others None.

    The published program's cache is keyed by the step alone and goes stale. This one has a fingerprint of
    weights, lists, input and versions, and is recomputed when that differs.
    """
    images = {
        "sketch": ImageSet(data.root, data.test_sketches, SKETCH, sketch_transform(config)),
        "photo": ImageSet(data.root, data.gallery, PHOTO, photo_transform(config)),
    }
    fingerprint = test_set_fingerprint(network, data, config, device)
    folder = config.folder / "vec"
    paths, key = feature_paths(folder, step)
    first = distributed.rank() == 0
    values = load_cached_features(paths, key, fingerprint, data, config) if first else None
    if distributed.broadcast_object(values is None):
        cache = load_cached_pixels(config, data)
        images["sketch"] = replace(images["sketch"], cached_decoded=cache.sketches)
        images["photo"] = replace(images["photo"], cached_resized=cache.photos)
        if first:
            key.unlink(missing_ok=True)
            remove_stale_temporaries(folder)
        for name, path in paths.items():
            with atomic_write(path) if first else nullcontext() as temporary:
                write_features(network, images[name], temporary, config, device)
        if first:
            write_json(key, {**fingerprint, "sha256": {name: sha256(path) for name, path in paths.items()}})
            values = {
                name: map_features(path, len(images[name]), config.network.f_dim)
                for name, path in paths.items()
            }
    if values is None:
        return None
    labels = {name: np.array([label for _, label in each.entries]) for name, each in images.items()}
    return Features(values["sketch"], labels["sketch"]), Features(values["photo"], labels["photo"])


def load_photo_features(
    network: nn.Module, data: Annotation, config: Config, *, step: int, device: torch.device
) -> np.ndarray | None:
    """Features (G, f_dim, 2) of the gallery that a test of this checkpoint cached; None without them."""
    paths, key = feature_paths(config.folder / "vec", step)
    if not key.is_file():
        return None
    fingerprint = test_set_fingerprint(network, data, config, device)
    values = load_cached_features(paths, key, fingerprint, data, config)
    return None if values is None else values["photo"]


def feature_paths(folder: Path, step: int) -> tuple[dict[str, Path], Path]:
    """The feature files of `step` by domain, and the file with their fingerprint."""
    paths = {name: folder / f"{name}-{step}.npy" for name in ("sketch", "photo")}
    return paths, folder / f"features-{step}.json"


def embedding_fingerprint(network: nn.Module, config: Config) -> dict[str, Any]:
    """What the features of an image depend on, apart from the image."""
    return {
        "weights": weights_digest(network),
        "image_size": config.input.image_size,
        "photo_channels": config.input.photo_channels,
        "normalize": config.input.normalize,
        "se_activation": config.network.se_activation,
        "layout": "mirror, image, feature",
        "format": FEATURE_FORMAT,
        "pixels": PIXEL_VERSION,
    }


def test_set_fingerprint(
    network: nn.Module, data: Annotation, config: Config, device: torch.device
) -> dict[str, Any]:
    """What all features of a test depend on, bit by bit."""
    return {
        **embedding_fingerprint(network, config),
        "lists": data.digest(),
        "files": files_digest(data),
        "device": device.type,
        "versions": provenance.versions(),
    }


def write_features(
    network: nn.Module,
    images: ImageSet,
    path: Path | None,
    config: Config,
    device: torch.device,
) -> None:
    """Write features of all `images` to a new file at `path`, with a progress bar.

    Each process embeds its shard of the batches; rank 0, which has a `path`, writes them. Raises Diverged if
    features are not finite.
    """
    rank, processes = distributed.rank(), distributed.world_size()
    batches = ordered_batches(
        images,
        config.data.batch_size,
        workers=config.data.num_workers,
        device=device,
        shard=(rank, processes),
    )
    parts = embed(network, batches, domain=images.domain, device=device)
    file = create_feature_file(path, (2, len(images), config.network.f_dim)) if path else None
    name = {SKETCH: "sketch", PHOTO: "photo"}[images.domain]
    bar = tqdm(total=len(images), unit="image", desc=f"embed {name}", dynamic_ncols=True, disable=rank > 0)
    padded = torch.zeros(
        (2, config.data.batch_size, config.network.f_dim)
    )  # all processes send the same shape
    with bar:
        for start in range(0, len(images), config.data.batch_size * processes):
            part = next(parts, padded)  # some processes have no batch in the last round
            padded[:, : part.shape[1]] = part
            gathered = torch.cat(distributed.gather_tensor(padded) or [padded[:, :0]], dim=1)
            batch = gathered[:, : len(images) - start]  # (2, B, f_dim)
            if not batch.isfinite().all():
                raise Diverged(
                    f"features of the {name} images are not finite: the training diverged; test an "
                    "earlier step"
                )
            if file is not None:
                file[:, start : start + batch.shape[1]] = batch.numpy()
            bar.update(batch.shape[1])
    if file is not None:
        file.flush()


def files_digest(data: Annotation) -> str:
    """SHA-256 over size and modification time of all test images, which detects replaced images."""
    digest = hashlib.sha256()
    hash_stats(digest, data.root, (name for name, _ in (*data.test_sketches, *data.gallery)))
    return digest.hexdigest()


def weights_digest(network: nn.Module) -> str:
    """SHA-256 over all parameters and buffers."""
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().numpy().data)
    return digest.hexdigest()
