"""Cached sketches, decoded at full size: uint8, one after the other.

A training sketch is cropped at random before it is resized, so the full-size pixels are cached, and one file
serves every image size. Decoding TU-Berlin's sketches takes longer than everything after it. A table of
heights and widths, 8 bytes per sketch, is at the end of the file.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datasets import SKETCH
from datasets.image_cache import CachedImages, Contents, cache_fields, map_pixels
from datasets.images import count_pixels
from datasets.loaders import ImageSet, pixel_batches
from datasets.transforms import Picture, Transform

SIZE = np.dtype("<u4")  # a height or a width


class CachedSketches(CachedImages):
    """Sketches of varying size."""

    def contents(self, workers: int) -> Contents:
        paths = [self.images.root / name for name, _ in self.images.entries]
        with ThreadPoolExecutor(max(1, workers)) as pool:  # only headers: bound by the disk
            total = sum(pool.map(count_pixels, paths))
        total += 2 * SIZE.itemsize * len(paths)
        return Contents((total,), f"{len(paths)} sketches", partial(load_decoded, self.images, workers))

    def check(self, pixels: np.ndarray) -> None:
        """Raise ValueError unless the table of sizes adds up to the whole file."""
        table = 2 * SIZE.itemsize * len(self.row_of)
        sizes = np.frombuffer(pixels[-table:].tobytes(), SIZE).astype(object).reshape(-1, 2)
        if pixels.ndim != 1 or sum(sizes.prod(axis=1)) + table != len(pixels):
            raise ValueError("its table of sizes does not match its length")

    def pixels(self, name: str) -> np.ndarray:
        """The sketch at the path `name`, uint8 (H, W), read from the file on access."""
        ends, sizes = read_layout(self.file, len(self.row_of))
        row = self.row_of[name]
        height, width = sizes[row]
        return self.map_pixels()[ends[row] - height * width : ends[row]].reshape(height, width)


@lru_cache(maxsize=8)
def read_layout(file: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    """End offsets (N,) of the sketches in `file`, and heights and widths (N, 2), int64."""
    table = map_pixels(file)[-2 * SIZE.itemsize * count :].tobytes()
    sizes = np.frombuffer(table, SIZE).reshape(count, 2).astype(np.int64)
    return np.cumsum(sizes.prod(axis=1)), sizes


def cache_sketches(root: Path, names: Iterable[str], folder: Path) -> CachedSketches:
    """The cache in `folder` of the sketches `names` below `root`, for `build_caches`."""
    images = ImageSet(root, [(name, 0) for name in sorted(set(names))], SKETCH, Transform(to_pixels))
    return CachedSketches(**cache_fields(images, folder, "sketches"))


def to_pixels(image: Picture) -> Tensor:
    """Grey -> uint8 (1, H, W)."""
    return torch.from_numpy(np.array(image))[None]


def load_decoded(images: ImageSet, workers: int) -> Iterator[np.ndarray]:
    """Yield sketches one by one, since their sizes differ; then the table of sizes."""
    sizes = np.empty((len(images), 2), SIZE)
    for row, (sketch, _) in enumerate(pixel_batches(images, 1, workers=workers)):  # (1, 1, H, W)
        sizes[row] = sketch.shape[2:]
        yield sketch.numpy()
    yield sizes.view(np.uint8)
