"""--format=onnx and --format=torchscript: two plain networks, checked before they are announced.

Each is of one domain, with the domain bit folded into biases (models/folded.py): one input, any batch size,
the image size of the training. What is read back from the disk is compared with the network as it was
trained, domain bit and all, in PyTorch; only then do the files get their names.
"""

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from datasets import PHOTO, SKETCH
from datasets.annotations import Annotation, Entry
from datasets.loaders import ImageSet, ordered_batches
from models.folded import folded
from phases.export import onnx, torchscript
from phases.export.card import PROGRAM, File, model_card
from phases.export.source import about, data_at_hand, load
from run.config import Config
from run.features import sketch_transform
from run.input import photo_transform
from utils.errors import UserError
from utils.files import atomic_write, remove_stale_temporaries, write_text
from utils.locks import folder_lock

log = logging.getLogger(__name__)

FORMATS = {"onnx": onnx, "torchscript": torchscript}
LIMIT = 1e-4  # of the absolute difference between features
RANDOM_BATCHES = (1, 2, 5)  # other sizes than that of the example a graph is recorded with, too
REAL_IMAGES = 8  # of each domain, in one batch


@dataclass(frozen=True)
class Side:
    """One domain: its bit, and inputs of its network (B, 3, S, S) float32 in batches of several sizes."""

    name: str
    domain: int
    random: list[Tensor]
    real: list[Tensor]


def run(config: Config, format: str) -> Config:
    """Write both networks and their model card below logs/<save_path>/export/<format>.

    Returns the config of the checkpoint.
    """
    form = FORMATS[format]
    versions = form.versions()  # before any work: packages may be lacking
    source = load(config, format)
    config = source.config
    data = data_at_hand(config, source)
    both = sides(config, data)
    example = torch.zeros(2, 3, config.input.image_size, config.input.image_size)
    folder = config.folder / "export" / format
    with folder_lock(folder), ExitStack() as unnamed:
        remove_stale_temporaries(folder)
        files = []
        for side in both:
            path = folder / f"{side.name}{form.SUFFIX}"
            temporary = unnamed.enter_context(atomic_write(path))
            said = about(config, source) | {"domain": side.name}
            form.write(folded(source.network, side.domain), example, temporary, said)
            found = compare(form.read(temporary), source.network, side, path)
            files.append(File(path.name, temporary.stat().st_size, f"the {side.name} network", found))
        card = unnamed.enter_context(atomic_write(folder / "model_card.md"))
        card.write_text(model_card(source, format, data, files, versions), encoding="utf-8")
        write_text(folder / PROGRAM.name, PROGRAM.read_text(encoding="utf-8"))
    for file in files:
        log.info("wrote %s, %.1f MB: %s", folder / file.name, file.size / 1e6, file.checked)
    log.info("wrote %s and %s", folder / "model_card.md", folder / PROGRAM.name)
    return config


def sides(config: Config, data: Annotation | None) -> list[Side]:
    """Both domains, with random images and, if there is `data`, with test sketches and photos of it."""
    size = config.input.image_size
    root = data.root if data else Path()
    sketches, photos = (spread(data.test_sketches), spread(data.gallery)) if data else ([], [])
    return [
        side_of("sketch", (1, size, size), ImageSet(root, sketches, SKETCH, sketch_transform(config))),
        side_of("photo", (3, size, size), ImageSet(root, photos, PHOTO, photo_transform(config))),
    ]


def spread(entries: list[Entry]) -> list[Entry]:
    """REAL_IMAGES of `entries`, or all if there are fewer, evenly apart: of several categories."""
    count = min(REAL_IMAGES, len(entries))
    return [entries[number * len(entries) // count] for number in range(count)]


def side_of(name: str, shape: tuple[int, int, int], images: ImageSet) -> Side:
    """`shape` is that of an image's pixels, uint8, before it becomes the network's input."""
    draw = torch.Generator().manual_seed(images.domain)
    pixels = [
        torch.randint(256, (count, *shape), dtype=torch.uint8, generator=draw) for count in RANDOM_BATCHES
    ]
    random = [images.transform.network_input(each).contiguous() for each in pixels]
    try:
        real = [each.contiguous() for each, _ in ordered_batches(images, REAL_IMAGES, workers=0)]
    except UserError as error:
        log.warning("warning: compared on random images alone: %s", error)
        real = []
    return Side(name, images.domain, random, real)


@torch.inference_mode()
def compare(read: Callable[[Tensor], Tensor], network: nn.Module, side: Side, path: Path) -> str:
    """Run what was `read` back and the trained `network` on the images of `side`; returns what came out.

    Raises UserError if a feature differs by LIMIT or more, or is not a number.
    """
    largest = scale = 0.0
    for images in side.random + side.real:
        expected = network(images, torch.full((len(images),), float(side.domain)))
        difference = float((read(images) - expected).abs().max())
        if not difference < LIMIT:
            raise UserError(
                f"{path} was not written: its features differ by up to {difference:.1e} from PyTorch's, "
                f"whose largest is {float(expected.abs().max()):.3g}, and {LIMIT:.0e} is the limit; try "
                "another --format or other versions of the packages"
            )
        largest, scale = max(largest, difference), max(scale, float(expected.abs().max()))
    random, real = (sum(map(len, batches)) for batches in (side.random, side.real))
    return (
        f"its features are within {largest:.1e} of PyTorch's, the largest of which is {scale:.3g} "
        f"({random} random images, {real} of the data set)"
    )
