"""Images a second on one core: from a file to a batch that the network takes, 224 px.

The baseline is the published way word for word: Pillow decodes, torchvision's transforms work on PIL images.
The limit is decoding alone, which both have to do; photos that are kept (--cache_images) need not even that.
TU-Berlin has sketches of 1111 x 1111 pixels in grey, Sketchy of 256 x 256 in RGB; photos of both are JPEGs of
256 x 256. The files are drawn here.

A loading process of this program ends with uint8, and the network's device makes float32 of it; what that
takes where the device is the CPU is timed too. Then one loading process does the work and hands it over.
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, RandomSampler

from benchmarks.measure import Variant, compare, record
from datasets import PHOTO, SKETCH, transforms
from datasets.cache import keep_photos
from datasets.loaders import MODES, ImageSet, training_batches
from datasets.transforms import Transform
from tests.datasets import literal
from utils.seeding import seeded

FILES, BATCH, SIZE = 44, 22, 224
LOADED = 20  # batches that a loading process hands over in a run


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
        with seeded(first):
            torch.stack([images[index][0] for index in range(first, first + BATCH)])


def pixel_batches(images: ImageSet) -> list[torch.Tensor]:
    """What a loading process hands over: uint8."""
    return [
        torch.stack([images[index, 0][0] for index in range(first, first + BATCH)])
        for first in range(0, FILES, BATCH)
    ]


def own_batches(images: ImageSet) -> None:
    for pixels in pixel_batches(images):
        images.transform.network_input(pixels).contiguous()


def compared(root: Path, names: list[str], domain: int, own: Transform, plain: Callable, kept: Any) -> dict:
    """One path through one kind of files, in this process."""
    entries = [(name, 0) for name in names]
    images = ImageSet(root, entries, domain, own)
    before = Literal(root, names, domain, plain)
    variants = [
        Variant("this program", partial(pixel_batches, images), FILES),
        Variant("this program, and float32 on the CPU", partial(own_batches, images), FILES),
        Variant("Pillow and torchvision", partial(plain_batches, before), FILES, "baseline"),
        Variant("decoding alone", partial(decode, [root / name for name in names]), FILES, "limit"),
    ]
    if kept:
        kept_images = replace(images, kept=kept)
        variants.insert(2, Variant("kept photos", partial(pixel_batches, kept_images), FILES))
        variants.insert(
            3, Variant("kept photos, and float32 on the CPU", partial(own_batches, kept_images), FILES)
        )
    return compare(variants, unit="image", repeats=9)


def handed_over(
    root: Path, names: list[str], domain: int, own: Transform, plain: Callable, kept: Any
) -> dict:
    """The same by a loading process for each variant, while this one waits and makes float32 of it."""
    images = ImageSet(root, [(name, 0) for name in names], domain, own)
    before = Literal(root, names, domain, plain)
    endless = RandomSampler(before, replacement=True, num_samples=10**9)
    count = LOADED * BATCH
    baseline = iter(DataLoader(before, BATCH, sampler=endless, num_workers=1))
    batches = training_batches(images, BATCH, workers=1)
    variants = [
        Variant("this program", partial(take, batches), count),
        Variant("Pillow and torchvision", partial(take, baseline), count, "baseline"),
    ]
    if kept:
        kept_batches = training_batches(replace(images, kept=kept), BATCH, workers=1)
        variants.insert(1, Variant("kept photos", partial(take, kept_batches), count))
    return compare(variants, unit="image", repeats=3, warm_up=True)


def take(batches: Iterator) -> None:
    for images, _ in islice(batches, LOADED):
        images.contiguous()


def main() -> None:
    torch.set_num_threads(1)
    sketch_train, sketch_test = transforms.sketch_train(SIZE), transforms.sketch_test(SIZE)
    photo_train, photo_test = transforms.photo_train(SIZE), transforms.photo_test(SIZE)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        names = draw(root)
        kept = keep_photos(root, names["photo"], SIZE, root / "cache", workers=0).pixels
        rows = [
            (f"{kind} {part}", names[kind], SKETCH, own, plain, None)
            for kind in ("TU-Berlin sketch", "Sketchy sketch")
            for part, own, plain in (
                ("train", sketch_train, literal.sketch_train(SIZE)),
                ("test", sketch_test, literal.sketch_test(SIZE)),
            )
        ]
        rows.append(("photo train", names["photo"], PHOTO, photo_train, literal.photo_train(SIZE), kept))
        rows.append(("photo test", names["photo"], PHOTO, photo_test, literal.photo_test(SIZE), kept))
        for what, *arguments in rows:
            print(what)
            record(f"input: {what}", compared(root, *arguments))
            print(f"{what}, by a loading process")
            record(f"input: {what}, by a loading process", handed_over(root, *arguments))


if __name__ == "__main__":
    main()
