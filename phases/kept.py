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
from datasets.cache import keep
from datasets.kept_photos import kept_photos
from datasets.kept_sketches import kept_sketches
from run.config import Config
from utils import distributed

FOLDER = Path("datasets/cache")


@dataclass(frozen=True)
class KeptImages:
    """What gives pixels by path: of sketches as decoded, of photos as resized; None where none are kept."""

    sketches: Callable[[str], np.ndarray] | None = None
    photos: Callable[[str], Tensor] | None = None


def kept_images(config: Config, data: Annotation) -> KeptImages:
    """The images of `data` with --cache_images, made if need be; none without.

    One file of each domain for training and test: the photos trained on are the gallery, by the protocol, and
    a disk without room for the test sketches is better known before the training than after it.
    """
    if not config.data.cache_images:
        return KeptImages()
    sketch_names = [name for name, _ in (*data.train_sketches, *data.test_sketches)]
    photo_names = [name for name, _ in (*data.train_photos, *data.gallery)]
    with distributed.first_alone():
        sketches = kept_sketches(data.root, sketch_names, FOLDER)
        photos = kept_photos(data.root, photo_names, config.input.image_size, FOLDER)
        keep([sketches, photos], workers=config.data.num_workers)
    return KeptImages(sketches.pixels, photos.pixels)
