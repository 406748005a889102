"""--cache_images: images that are decoded once, below datasets/cache in the current directory.

On the disk that takes 3 x image_size^2 bytes for a photo and height x width for a sketch. Sketchy's photos
are 11 GB at 224 px and its sketches (256 x 256) 4.9 GB, TU-Berlin's 31 GB and (1111 x 1111) 24.7 GB.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from datasets.annotations import Annotation
from datasets.image_cache import build_caches
from datasets.image_cache.photos import cache_photos
from datasets.image_cache.sketches import cache_sketches
from run.config import Config
from utils import distributed

FOLDER = Path("datasets/cache")


@dataclass(frozen=True)
class CachedPixels:
    """What gives pixels by path: of sketches as decoded, of photos as resized; None where none are kept."""

    sketches: Callable[[str], np.ndarray] | None = None
    photos: Callable[[str], Tensor] | None = None


def load_cached_pixels(config: Config, data: Annotation) -> CachedPixels:
    """The images of `data` with --cache_images, made if need be; none without.

    One file of each domain for training and test: the photos trained on are the gallery, by the protocol, and
    a disk without room for the test sketches is better known before the training than after it.
    """
    if not config.data.cache_images:
        return CachedPixels()
    sketch_names = [name for name, _ in (*data.train_sketches, *data.test_sketches)]
    photo_names = [name for name, _ in (*data.train_photos, *data.gallery)]
    with distributed.main_process_first():
        sketches = cache_sketches(data.root, sketch_names, FOLDER)
        photos = cache_photos(data.root, photo_names, config.input.image_size, FOLDER)
        build_caches([sketches, photos], workers=config.data.num_workers)
    return CachedPixels(sketches.pixels, photos.pixels)
