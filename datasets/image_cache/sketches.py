"""Sketches, decoded, as large as they are, in one file: uint8, one after the other.

A training sketch is cropped at random before it is resized, so its own pixels are kept, and one file serves
every image size. Decoding those of TU-Berlin takes longer than all that comes after it. At the end of the
file stands a table of heights and widths, 8 bytes a sketch.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datasets import SKETCH
from datasets.image_cache import CachedImages, Contents, map_pixels, place
from datasets.images import pixel_count
from datasets.loaders import ImageSet, pixel_batches
from datasets.transforms import Picture, Transform

SIZE = np.dtype("<u4")  # a height or a width


class CachedSketches(CachedImages):
    """Sketches of any sizes."""

    def contents(self, workers: int) -> Contents:
        paths = [self.images.root / name for name, _ in self.images.entries]
        with ThreadPoolExecutor(max(1, workers)) as pool:  # headers alone: the disk is waited for
            total = sum(pool.map(pixel_count, paths))
        total += 2 * SIZE.itemsize * len(paths)
        return Contents((total,), f"{len(paths)} sketches", partial(decoded, self.images, workers))

    def check(self, pixels: np.ndarray) -> None:
        """Raise ValueError unless the table of sizes accounts for all of the file."""
        table = 2 * SIZE.itemsize * len(self.row_of)
        sizes = np.frombuffer(pixels[-table:].tobytes(), SIZE).astype(object).reshape(-1, 2)
        if pixels.ndim != 1 or sum(sizes.prod(axis=1)) + table != len(pixels):
            raise ValueError("its sizes are not those of its sketches")

    def pixels(self, name: str) -> np.ndarray:
        """The sketch at the path `name`, uint8 (H, W), read from the file where it is looked at."""
        ends, sizes = layout(self.file, len(self.row_of))
        row = self.row_of[name]
        height, width = sizes[row]
        return self.map_pixels()[ends[row] - height * width : ends[row]].reshape(height, width)


@lru_cache(maxsize=8)
def layout(file: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each sketch ends in `file` (N,), and height and width of each (N, 2), int64."""
    table = map_pixels(file)[-2 * SIZE.itemsize * count :].tobytes()
    sizes = np.frombuffer(table, SIZE).reshape(count, 2).astype(np.int64)
    return np.cumsum(sizes.prod(axis=1)), sizes


def cache_sketches(root: Path, names: Iterable[str], folder: Path) -> CachedSketches:
    """The sketches `names` below `root`, in `folder`, for `cache.build_caches`."""
    images = ImageSet(root, [(name, 0) for name in sorted(set(names))], SKETCH, Transform(as_they_are))
    return CachedSketches(**place(images, folder, "sketches"))


def as_they_are(image: Picture) -> Tensor:
    """Grey -> uint8 (1, H, W)."""
    return torch.from_numpy(np.array(image))[None]


def decoded(images: ImageSet, workers: int) -> Iterator[np.ndarray]:
    """Sketches as they are, one by one, for no two need have one size; then the table of their sizes."""
    sizes = np.empty((len(images), 2), SIZE)
    for row, (sketch, _) in enumerate(pixel_batches(images, 1, workers=workers)):  # (1, 1, H, W)
        sizes[row] = sketch.shape[2:]
        yield sketch.numpy()
    yield sizes.view(np.uint8)
