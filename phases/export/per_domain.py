"""--format=onnx and --format=torchscript: a plain network for each domain.

The domain bit is folded into biases (models/domain_folding.py), so each has one input: images in any batch
size, of the image size of the training. The files are read back from the disk and compared with the trained
network in PyTorch, which takes the bit as an input; only then do they get their names.
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
from models.domain_folding import fold_domain_bit
from phases.export import onnx, torchscript
from phases.export.card import PROGRAM, ExportedFile, model_card
from phases.export.source import load_data_if_available, load_source, make_metadata
from run.config import Config
from run.features import sketch_transform
from run.input import photo_transform
from utils.errors import UserError
from utils.files import atomic_write, remove_stale_temporaries, write_text
from utils.locks import folder_lock

log = logging.getLogger(__name__)

EXPORTERS = {"onnx": onnx, "torchscript": torchscript}
LIMIT = 1e-4  # of the absolute difference between features
RANDOM_BATCHES = (1, 2, 5)  # batch sizes, also other ones than that of the example for the exporter
REAL_IMAGES = 8  # of each domain, in one batch


@dataclass(frozen=True)
class DomainInputs:
    """Inputs to compare the network of one domain on: batches of images (B, 3, S, S) float32."""

    name: str  # sketch or photo
    domain: int
    random: list[Tensor]
    real: list[Tensor]


def run(config: Config, format: str) -> Config:
    """Write both networks and their model card below logs/<save_path>/export/<format>.

    Returns the config of the checkpoint.
    """
    exporter = EXPORTERS[format]
    versions = exporter.versions()  # fails before any work if a package is missing
    source = load_source(config, format)
    config = source.config
    data = load_data_if_available(config, source)
    inputs_by_domain = make_inputs(config, data)
    metadata = make_metadata(config, source)
    example = torch.zeros(2, 3, config.input.image_size, config.input.image_size)
    folder = config.folder / "export" / format
    # the files get their names when the stack ends, so all of them or none
    with folder_lock(folder), ExitStack() as stack:
        remove_stale_temporaries(folder)
        files = []
        for inputs in inputs_by_domain:
            path = folder / f"{inputs.name}{exporter.SUFFIX}"
            temporary = stack.enter_context(atomic_write(path))
            network = fold_domain_bit(source.network, inputs.domain)
            exporter.write(network, example, temporary, metadata | {"domain": inputs.name})
            check = compare_features(exporter.read(temporary), source.network, inputs, path)
            size = temporary.stat().st_size
            files.append(ExportedFile(path.name, size, f"the {inputs.name} network", check))
        card = stack.enter_context(atomic_write(folder / "model_card.md"))
        card.write_text(model_card(source, format, data, files, versions), encoding="utf-8")
        write_text(folder / PROGRAM.name, PROGRAM.read_text(encoding="utf-8"))
    for file in files:
        log.info("wrote %s, %.1f MB: %s", folder / file.name, file.size / 1e6, file.check)
    log.info("wrote %s and %s", folder / "model_card.md", folder / PROGRAM.name)
    return config


def make_inputs(config: Config, data: Annotation | None) -> list[DomainInputs]:
    """Inputs of both domains: random images, and test sketches and photos if there is `data`."""
    size = config.input.image_size
    root = Path()
    sketches: list[Entry] = []
    photos: list[Entry] = []
    if data:
        root = data.root
        sketches, photos = sample_evenly(data.test_sketches), sample_evenly(data.gallery)
    sketch_images = ImageSet(root, sketches, SKETCH, sketch_transform(config))
    photo_images = ImageSet(root, photos, PHOTO, photo_transform(config))
    return [
        make_domain_inputs("sketch", (1, size, size), sketch_images),
        make_domain_inputs("photo", (3, size, size), photo_images),
    ]


def sample_evenly(entries: list[Entry]) -> list[Entry]:
    """REAL_IMAGES of `entries`, or all if there are fewer, at equal intervals: of several categories."""
    count = min(REAL_IMAGES, len(entries))
    return [entries[number * len(entries) // count] for number in range(count)]


def make_domain_inputs(name: str, shape: tuple[int, int, int], images: ImageSet) -> DomainInputs:
    """Random and real inputs. `shape` is that of an image as uint8 pixels, before it is scaled."""
    generator = torch.Generator().manual_seed(images.domain)
    random = []
    for count in RANDOM_BATCHES:
        pixels = torch.randint(256, (count, *shape), dtype=torch.uint8, generator=generator)
        random.append(images.transform.network_input(pixels).contiguous())
    try:
        real = [batch.contiguous() for batch, _ in ordered_batches(images, REAL_IMAGES, workers=0)]
    except UserError as error:
        log.warning("warning: compared on random images alone: %s", error)
        real = []
    return DomainInputs(name, images.domain, random, real)


@torch.inference_mode()
def compare_features(
    exported: Callable[[Tensor], Tensor], network: nn.Module, inputs: DomainInputs, path: Path
) -> str:
    """Compare the `exported` network, read back, with the trained one; returns the result as a phrase.

    Raises UserError if a feature differs by LIMIT or more, or is not a number.
    """
    largest_difference = largest_feature = 0.0
    for images in inputs.random + inputs.real:
        expected = network(images, torch.full((len(images),), float(inputs.domain)))
        difference = float((exported(images) - expected).abs().max())
        if not difference < LIMIT:  # also for NaN
            raise UserError(
                f"{path} was not written: its features differ by up to {difference:.1e} from PyTorch's, "
                f"whose largest is {float(expected.abs().max()):.3g}, and {LIMIT:.0e} is the limit; try "
                "another --format or other versions of the packages"
            )
        largest_difference = max(largest_difference, difference)
        largest_feature = max(largest_feature, float(expected.abs().max()))
    num_random, num_real = sum(map(len, inputs.random)), sum(map(len, inputs.real))
    return (
        f"its features are within {largest_difference:.1e} of PyTorch's, the largest of which is "
        f"{largest_feature:.3g} ({num_random} random images, {num_real} of the data set)"
    )
