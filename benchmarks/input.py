"""Images per second on one core, from a file to a batch for the network, at 224 px.

The baseline is the published program's way: Pillow decodes, and torchvision transforms PIL images. The limit
is decoding alone, which both need. Cached images (--cache_images) skip even that: photos are cached resized,
sketches decoded.
TU-Berlin has grey sketches of 1111 x 1111 pixels, Sketchy RGB sketches of 256 x 256; photos of both are JPEGs
of 256 x 256. The files are drawn by this script.

A worker of this program returns uint8, and the network's device converts to float32. The conversion on a CPU
is timed as well.
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from benchmarks.baselines import published_transforms
from benchmarks.measure import Variant, compare, save_results
from datasets import PHOTO, SKETCH, transforms
from datasets.image_cache import build_caches
from datasets.image_cache.photos import cache_photos
from datasets.image_cache.sketches import cache_sketches
from datasets.loaders import MODES, ImageSet, pixel_batches
from utils.seeding import seeded_rng

FILES, BATCH, SIZE = 44, 22, 224
INPUT = {"input": f"{FILES} files drawn here, batches of {BATCH} images of {SIZE} px, one core"}
CACHED = {SKETCH: "cached sketches", PHOTO: "cached photos"}


def draw_photo(side: int, seed: int) -> Image.Image:
    """Smooth colours with some noise: about 20 KB as a JPEG, like real photos of this size."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))
    return Image.fromarray((smooth + rng.normal(0, 8, smooth.shape)).clip(0, 255).astype(np.uint8))


def write_files(root: Path) -> dict[str, list[str]]:
    """Draw the files below `root`; returns their names by kind."""
    names: dict[str, list[str]] = {"TU-Berlin sketch": [], "Sketchy sketch": [], "photo": []}
    for index in range(FILES):
        for kind, side, mode in (("TU-Berlin sketch", 1111, "L"), ("Sketchy sketch", 256, "RGB")):
            names[kind].append(f"{kind} {index}.png")
            published_transforms.draw_sketch(side, side, index).convert(mode).save(root / names[kind][-1])
        names["photo"].append(f"photo {index}.jpg")
        draw_photo(256, index).save(root / names["photo"][-1], quality=90)
    return names


class PublishedDataset(Dataset):
    """Images as the published program loads them: as PIL images, one after the other."""

    def __init__(self, root: Path, names: list[str], domain: int, transform: Callable) -> None:
        self.root, self.names, self.mode, self.transform = root, names, MODES[domain], transform

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        with Image.open(self.root / self.names[index]) as image:
            return self.transform(image.convert(self.mode)), 0


def decode_files(paths: list[Path]) -> None:
    for path in paths:
        with Image.open(path) as image:
            image.load()


def load_published_batches(images: PublishedDataset) -> None:
    for first in range(0, FILES, BATCH):
        with seeded_rng(first):
            torch.stack([images[index][0] for index in range(first, first + BATCH)])


def load_uint8_batches(images: ImageSet) -> None:
    """A worker's part: batches of uint8."""
    for _ in pixel_batches(images, BATCH, workers=0):
        pass


def load_float32_batches(images: ImageSet) -> None:
    """The worker's part and the conversion to float32."""
    for pixels, _ in pixel_batches(images, BATCH, workers=0):
        images.transform.network_input(pixels).contiguous()


def compare_loaders(images: ImageSet, cached_images: ImageSet, plain: Callable) -> dict:
    """Compare ways to load one kind of files with one transform, in this process."""
    root, names, domain = images.root, [name for name, _ in images.entries], images.domain
    cached = CACHED[domain]
    published = PublishedDataset(root, names, domain, plain)
    variants = [
        Variant("this program", partial(load_uint8_batches, images), FILES),
        Variant("this program, and float32 on the CPU", partial(load_float32_batches, images), FILES),
        Variant(cached, partial(load_uint8_batches, cached_images), FILES),
        Variant(f"{cached}, and float32 on the CPU", partial(load_float32_batches, cached_images), FILES),
        Variant("Pillow and torchvision", partial(load_published_batches, published), FILES, "baseline"),
        Variant("decoding alone", partial(decode_files, [root / name for name in names]), FILES, "limit"),
    ]
    return compare(variants, unit="image", repeats=9)


def input_cases(root: Path) -> Iterator[tuple[str, ImageSet, ImageSet, Callable]]:
    """Each kind of files with each transform: name, images from files, cached images, published transform."""
    names, folder = write_files(root), root / "cache"
    photos = cache_photos(root, names["photo"], SIZE, folder)
    sketches = cache_sketches(root, [*names["TU-Berlin sketch"], *names["Sketchy sketch"]], folder)
    build_caches([photos, sketches], workers=0)
    for kind, part in product(names, ("train", "test")):
        entries = [(name, 0) for name in names[kind]]
        what = f"{'photo' if kind == 'photo' else 'sketch'}_{part}"
        own, plain = (getattr(module, what)(SIZE) for module in (transforms, published_transforms))
        if kind == "photo":
            images = ImageSet(root, entries, PHOTO, own)
            yield f"{kind} {part}", images, replace(images, cached_resized=photos.pixels), plain
        else:
            images = ImageSet(root, entries, SKETCH, own)
            yield f"{kind} {part}", images, replace(images, cached_decoded=sketches.pixels), plain


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for what, images, cached_images, plain in input_cases(Path(folder)):
            print(what)
            save_results(f"input: {what}", INPUT | compare_loaders(images, cached_images, plain))


if __name__ == "__main__":
    main()
