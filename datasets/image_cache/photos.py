"""Photos, decoded and resized, in one file: (N, 3, S, S) uint8 RGB.

The way of a photo up to the mirror is always the same, so it is gone once. Channel order, mirror and
normalisation come after it: one file serves every run of an image size.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datasets import PHOTO
from datasets.image_cache import CachedImages, Contents, place
from datasets.loaders import ImageSet, pixel_batches
from datasets.transforms import photo_test

BATCH = 32  # photos that a process hands over at once


class CachedPhotos(CachedImages):
    """Photos of one size."""

    def contents(self, workers: int) -> Contents:
        size = int(self.made_by["size"])
        count = len(self.images)
        return Contents(
            (count, 3, size, size),
            f"{count} photos of {size} px",
            partial(resized, self.images, workers),
        )

    def check(self, pixels: np.ndarray) -> None:
        """Raise ValueError unless these are so many photos of this size."""
        size = int(self.made_by["size"])
        if pixels.shape != (len(self.row_of), 3, size, size):
            raise ValueError(f"its shape is {pixels.shape}")

    def pixels(self, name: str) -> Tensor:
        """The photo at the path `name`, resized, uint8 (3, S, S), memory of its own."""
        return torch.from_numpy(np.array(self.map_pixels()[self.row_of[name]]))


def cache_photos(root: Path, names: Iterable[str], size: int, folder: Path) -> CachedPhotos:
    """The photos `names` below `root` at `size`, in `folder`, for `cache.build_caches`."""
    images = ImageSet(root, [(name, 0) for name in sorted(set(names))], PHOTO, photo_test(size))
    return CachedPhotos(**place(images, folder, "photos", f"-{size}", size=size))


def resized(images: ImageSet, workers: int) -> Iterator[np.ndarray]:
    for photos, _ in pixel_batches(images, BATCH, workers=workers):  # (B, 3, S, S)
        yield photos.numpy()
