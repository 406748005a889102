"""--cache_images: photos that are decoded once, below datasets/cache in the current directory."""

import argparse
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from datasets.annotations import Annotation
from datasets.cache import keep_photos
from utils import distributed

FOLDER = Path("datasets/cache")


def kept_photos(options: argparse.Namespace, data: Annotation) -> Callable[[str], Tensor] | None:
    """What gives the resized pixels of a photo of `data`, made if need be; None without --cache_images.

    One file for training and test: the photos trained on are the gallery, by the protocol.
    """
    if not options.cache_images:
        return None
    names = [name for name, _ in (*data.train_photos, *data.gallery)]
    with distributed.first_alone():
        return keep_photos(data.root, names, options.image_size, FOLDER, workers=options.num_workers).pixels
