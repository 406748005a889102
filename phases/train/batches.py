"""The batches of a training, and which files are in one of them."""

from collections.abc import Iterator
from functools import partial

import torch

from datasets import PHOTO, SKETCH, transforms
from datasets.annotations import Annotation
from datasets.loaders import Batch, ImageSet, list_batch_entries, training_batches
from run.cached_pixels import load_cached_pixels
from run.config import Config
from run.input import input_normalisation
from utils import distributed
from utils.seeding import stream_seed


def load_batches(
    config: Config, data: Annotation, *, start: int, device: torch.device
) -> Iterator[tuple[Batch, Batch]]:
    """Pairs of a sketch batch and a photo batch for the steps after `start`, of this process alone."""
    size, normalize = config.input.image_size, input_normalisation(config)
    augmentation = config.train.augmentation
    cached = load_cached_pixels(config, data)
    sketches = ImageSet(
        data.root,
        data.train_sketches,
        SKETCH,
        transforms.sketch_train(size, normalize=normalize, augmentation=augmentation),
        config.seed,
        cached_decoded=cached.sketches,
    )
    photos = ImageSet(
        data.root,
        data.train_photos,
        PHOTO,
        transforms.photo_train(
            size, config.input.photo_channels or "rgb", normalize=normalize, augmentation=augmentation
        ),
        config.seed,
        cached_resized=cached.photos,
    )
    load = partial(
        training_batches,
        batch_size=config.data.batch_size,
        workers=config.data.num_workers,
        start=start,
        device=device,
        shard=(distributed.rank(), distributed.world_size()),
    )
    return zip(load(sketches), load(photos), strict=True)


def list_step_files(config: Config, data: Annotation, step: int) -> dict[str, list[str]]:
    """The images of `step` in all processes, by domain: they follow from the seed and the step."""
    size = config.data.batch_size * distributed.world_size()  # the processes share one batch of this size
    files = {}
    for name, domain, entries in (
        ("sketches", SKETCH, data.train_sketches),
        ("photos", PHOTO, data.train_photos),
    ):
        batch = list_batch_entries(entries, size, stream_seed(config.seed, domain), step - 1)
        files[name] = [path for path, _ in batch]
    return files
