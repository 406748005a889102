"""Cached photos, decoded and resized: (N, 3, S, S) uint8 RGB.

Everything before the random flip is deterministic, so it is done once. Channel order, flip and normalisation
come later: one file serves all runs of an image size.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datasets import PHOTO
from datasets.image_cache import CachedImages, Contents, cache_fields
from datasets.loaders import ImageSet, pixel_batches
from datasets.transforms import photo_test

BATCH = 32  # photos per batch of a worker


class CachedPhotos(CachedImages):
    """Photos of one size."""

    def contents(self, workers: int) -> Contents:
        size = int(self.made_by["size"])
        count = len(self.images)
        return Contents(
            (count, 3, size, size),
            f"{count} photos of {size} px",
            partial(load_resized, self.images, workers),
        )

    def check(self, pixels: np.ndarray) -> None:
        """Raise ValueError unless number and size of the photos are right."""
        size = int(self.made_by["size"])
        if pixels.shape != (len(self.row_of), 3, size, size):
            raise ValueError(f"its shape is {pixels.shape}")

    def pixels(self, name: str) -> Tensor:
        """The photo at the path `name`, resized, uint8 (3, S, S), as a copy."""
        return torch.from_numpy(np.array(self.map_pixels()[self.row_of[name]]))


def cache_photos(root: Path, names: Iterable[str], size: int, folder: Path) -> CachedPhotos:
    """The cache in `folder` of the photos `names` below `root` at `size`, for `build_caches`."""
    images = ImageSet(root, [(name, 0) for name in sorted(set(names))], PHOTO, photo_test(size))
    return CachedPhotos(**cache_fields(images, folder, "photos", f"-{size}", size=size))


def load_resized(images: ImageSet, workers: int) -> Iterator[np.ndarray]:
    for photos, _ in pixel_batches(images, BATCH, workers=workers):  # (B, 3, S, S)
        yield photos.numpy()
