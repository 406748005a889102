"""--cache_images: decoded images in files below datasets/cache in the current directory.

On the disk they take 3 x image_size^2 bytes for a photo and height x width for a sketch. Sketchy's photos
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
    """Functions that return cached pixels by path: sketches as decoded, photos as resized. None: no cache."""

    sketches: Callable[[str], np.ndarray] | None = None
    photos: Callable[[str], Tensor] | None = None


def load_cached_pixels(config: Config, data: Annotation) -> CachedPixels:
    """The cached images of `data` with --cache_images, built if needed; empty without it.

    Training and test share one file per domain: by the protocol, the training photos are the gallery, and a
    disk too small for the test sketches should be reported before the training.
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
