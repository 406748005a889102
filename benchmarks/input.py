"""Images a second on one core: from a file to a batch that the network takes, 224 px.

The baseline is the published way word for word: Pillow decodes, torchvision's transforms work on PIL images.
The limit is decoding alone, which both have to do; images that are kept (--cache_images) need not even that:
photos are kept resized, sketches as decoded.
TU-Berlin has sketches of 1111 x 1111 pixels in grey, Sketchy of 256 x 256 in RGB; photos of both are JPEGs of
256 x 256. The files are drawn here.

A loading process of this program ends with uint8, and the network's device makes float32 of it; what that
takes where the device is the CPU is timed too.
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

from benchmarks.baselines import literal
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


def photo(side: int, seed: int) -> Image.Image:
    """Smooth colours and some noise: about 20 KB as a JPEG, as photos of this size have."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))
    return Image.fromarray((smooth + rng.normal(0, 8, smooth.shape)).clip(0, 255).astype(np.uint8))


def draw(root: Path) -> dict[str, list[str]]:
    """The files, by kind: paths below `root`."""
    names: dict[str, list[str]] = {"TU-Berlin sketch": [], "Sketchy sketch": [], "photo": []}
    for index in range(FILES):
        for kind, side, mode in (("TU-Berlin sketch", 1111, "L"), ("Sketchy sketch", 256, "RGB")):
            names[kind].append(f"{kind} {index}.png")
            literal.drawing(side, side, index).convert(mode).save(root / names[kind][-1])
        names["photo"].append(f"photo {index}.jpg")
        photo(256, index).save(root / names["photo"][-1], quality=90)
    return names


class Literal(Dataset):
    """The published way: PIL images, one after the other."""

    def __init__(self, root: Path, names: list[str], domain: int, transform: Callable) -> None:
        self.root, self.names, self.mode, self.transform = root, names, MODES[domain], transform

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        with Image.open(self.root / self.names[index]) as image:
            return self.transform(image.convert(self.mode)), 0


def decode(paths: list[Path]) -> None:
    for path in paths:
        with Image.open(path) as image:
            image.load()


def plain_batches(images: Literal) -> None:
    for first in range(0, FILES, BATCH):
        with seeded_rng(first):
            torch.stack([images[index][0] for index in range(first, first + BATCH)])


def worked_through(images: ImageSet) -> None:
    """What a loading process does: uint8."""
    for _ in pixel_batches(images, BATCH, workers=0):
        pass


def own_batches(images: ImageSet) -> None:
    for pixels, _ in pixel_batches(images, BATCH, workers=0):
        images.transform.network_input(pixels).contiguous()


def compared(images: ImageSet, kept_images: ImageSet, plain: Callable) -> dict:
    """One path through one kind of files, in this process."""
    root, names, domain = images.root, [name for name, _ in images.entries], images.domain
    kept = CACHED[domain]
    before = Literal(root, names, domain, plain)
    variants = [
        Variant("this program", partial(worked_through, images), FILES),
        Variant("this program, and float32 on the CPU", partial(own_batches, images), FILES),
        Variant(kept, partial(worked_through, kept_images), FILES),
        Variant(f"{kept}, and float32 on the CPU", partial(own_batches, kept_images), FILES),
        Variant("Pillow and torchvision", partial(plain_batches, before), FILES, "baseline"),
        Variant("decoding alone", partial(decode, [root / name for name in names]), FILES, "limit"),
    ]
    return compare(variants, unit="image", repeats=9)


def paths(root: Path) -> Iterator[tuple[str, ImageSet, ImageSet, Callable]]:
    """Each path through each kind of files: its name, the images from files and kept, the baseline."""
    names, folder = draw(root), root / "cache"
    photos = cache_photos(root, names["photo"], SIZE, folder)
    sketches = cache_sketches(root, [*names["TU-Berlin sketch"], *names["Sketchy sketch"]], folder)
    build_caches([photos, sketches], workers=0)
    for kind, part in product(names, ("train", "test")):
        entries = [(name, 0) for name in names[kind]]
        what = f"{'photo' if kind == 'photo' else 'sketch'}_{part}"
        own, plain = (getattr(module, what)(SIZE) for module in (transforms, literal))
        if kind == "photo":
            images = ImageSet(root, entries, PHOTO, own)
            yield f"{kind} {part}", images, replace(images, cached_resized=photos.pixels), plain
        else:
            images = ImageSet(root, entries, SKETCH, own)
            yield f"{kind} {part}", images, replace(images, cached_decoded=sketches.pixels), plain


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for what, images, kept_images, plain in paths(Path(folder)):
            print(what)
            save_results(f"input: {what}", INPUT | compared(images, kept_images, plain))


if __name__ == "__main__":
    main()
