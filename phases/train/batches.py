"""The batches of a training: what `datasets.loaders` is asked for, and which files are in one."""

from collections.abc import Iterator
from functools import partial

import torch

from datasets import PHOTO, SKETCH, transforms
from datasets.annotations import Annotation
from datasets.loaders import ImageSet, list_batch_entries, training_batches
from run.cached_pixels import load_cached_pixels
from run.config import Config
from run.input import input_normalisation
from utils import distributed
from utils.seeding import stream_seed


def batches(config: Config, data: Annotation, *, start: int, device: torch.device) -> Iterator[tuple]:
    """Pairs of a sketch batch and a photo batch, from the one after step `start` on."""
    size, normalize = config.input.image_size, input_normalisation(config)
    kept = load_cached_pixels(config, data)
    sketches = ImageSet(
        data.root,
        data.train_sketches,
        SKETCH,
        transforms.sketch_train(size, normalize=normalize, augmentation=config.train.augmentation),
        config.seed,
        cached_decoded=kept.sketches,
    )
    photos = ImageSet(
        data.root,
        data.train_photos,
        PHOTO,
        transforms.photo_train(
            size,
            config.input.photo_channels or "rgb",
            normalize=normalize,
            augmentation=config.train.augmentation,
        ),
        config.seed,
        cached_resized=kept.photos,
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


def files_of_step(config: Config, data: Annotation, step: int) -> dict[str, list[str]]:
    """The images that `step` was computed from, in all processes: they follow from the seed and the step."""
    size = config.data.batch_size * distributed.world_size()  # the batches of all are parts of one
    sets = {"sketches": (SKETCH, data.train_sketches), "photos": (PHOTO, data.train_photos)}
    found = {}
    for name, (domain, entries) in sets.items():
        seed = stream_seed(config.seed, domain)
        found[name] = [path for path, _ in list_batch_entries(entries, size, seed, step - 1)]
    return found
