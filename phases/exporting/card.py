"""The model card beside what is handed on: what it is, what it was made of, how good it is, how to use it.

All of it comes from the checkpoint, the run's log/result.json, the lists where they are at hand, and what was
just measured. What none of them says is said to be unknown.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from datasets.annotations import Annotation
from phases import settings
from phases.exporting.card_results import records_of, results_section, table
from phases.exporting.card_terms import licences
from phases.exporting.card_usage import definition, usage
from phases.provenance import UNKNOWN, revision, without_folders
from phases.trained import Weights

PAPER = (
    "*Domain-Aware SE Network for Sketch-based Image Retrieval with Multiplicative Euclidean Margin Softmax* "
    "(Lu, Huang, Lin, Yang, Guo and Fu, ACM Multimedia 2021, "
    "[arXiv 1812.04275](https://arxiv.org/abs/1812.04275))"
)
PLAIN = (
    "Two networks, one per domain. The bit that tells the domains apart is folded into biases, so that each "
    "has one input, `images`, float32 (N, 3, {size}, {size}) with any N, and one output, `features`, float32 "
    "(N, {f_dim})."
)
FORMS = {
    "onnx": PLAIN,
    "torchscript": PLAIN,
    "safetensors": (
        "The weights of one network for both domains, told apart by its second input, a bit per image. "
        "Entries `network.*` are its state dict; `centers` are the class centres, if the checkpoint has "
        "them, a row per category that was trained on. The file's metadata say how to build the network "
        "and, as JSON, the categories in the order of the rows."
    ),
}
PACKAGES = {
    "onnx": "numpy pillow onnxruntime",
    "torchscript": "numpy pillow torch",
    "safetensors": "-r requirements-export.txt",
}
SHAPE_OPTIONS = ("network", "attention", "se_reduction", "f_dim")  # what a published pair says
INPUT_OPTIONS = ("se_activation", "image_size", "photo_channels", "normalize")


@dataclass(frozen=True)
class File:
    """One file handed on: its size in bytes, what it holds and how it was found to be right."""

    name: str
    size: int
    what: str
    checked: str


def model_card(
    options: argparse.Namespace,
    source: Weights,
    data: Annotation | None,
    files: list[File],
    versions: dict[str, str],
) -> str:
    """The card as Markdown. `versions` are of the packages at work beside those of settings.versions()."""
    records = records_of(options, source)
    sections = {
        "Files": table(
            ["file", "bytes", "what", "checked before it got its name"],
            [[f"`{each.name}`", f"{each.size:,}", each.what, each.checked] for each in files],
        ),
        "Data": data_section(options, source, data, records),
        "Training": training_section(options, source),
        "Results": results_section(source, records),
        "Input": input_section(options),
        "Use": use_section(options),
        "Limits": limits_section(source),
        "Licences": licences(options.dataset, options.network, source.options),
        "Versions": versions_section(source, versions),
    }
    parts = [introduction(options, source), *(f"## {title}\n\n{text}" for title, text in sections.items())]
    return "\n\n".join(parts) + "\n"


def introduction(options: argparse.Namespace, source: Weights) -> str:
    form = FORMS[options.format].format(size=options.image_size, f_dim=options.f_dim)
    return (
        f"# {options.save_path}, step {source.step}\n\n"
        "Given a sketch, it ranks photos so that those of the sketch's category come first: "
        f"{options.network} with attention `{options.attention}`, {options.f_dim} features per image. An "
        f"independent implementation of {PAPER}.\n\n{form}"
    )


def data_section(
    options: argparse.Namespace, source: Weights, data: Annotation | None, records: list[dict[str, Any]]
) -> str:
    guessed = "" if source.options else ", as given or guessed: the checkpoint does not say it"
    lines = [f"- data set: {options.dataset}{guessed}"]
    names = source.categories or (data.categories if data else [])
    trained = len(names) if source.centers is None else len(source.centers)
    if names:
        seen = "all" if trained == len(names) else f"the first {trained}"
        lines.append(f"- categories: {len(names)}, {seen} of them trained on: {', '.join(names)}")
    elif trained:
        lines.append(f"- categories trained on: {trained}")
    if data is not None:
        lines.append(
            f"- training: {len(data.train_sketches):,} sketches and {len(data.train_photos):,} photos; test: "
            f"{len(data.test_sketches):,} sketches against {len(data.gallery):,} photos"
        )
    elif records:
        counts = records[0]["counts"]
        lines.append(f"- test: {counts['queries']:,} sketches against {counts['gallery']:,} photos")
    else:
        lines.append("- number of images: unknown; the data set was not at hand when this was written")
    if source.lists:
        lines.append(f"- SHA-256 of its annotation lists: `{source.lists}`")
    else:
        at_hand = "; what stands here is of those at hand" if data else ""
        lines.append(f"- annotation lists: unknown, the checkpoint does not say them{at_hand}")
    return "\n".join(lines)


def training_section(options: argparse.Namespace, source: Weights) -> str:
    """Of paths the name alone: a card does not tell where it was made."""
    if source.options:
        stored = {**settings.ADDED, **source.options}
        names = settings.NETWORK_OPTIONS + settings.TRAINING_OPTIONS + settings.RUN_OPTIONS
        said = f"From `{source.path.name}`, made with these options:"
        used = [name for name in names if settings.is_used(name, stored["loss_type"])]
        given = {name: stored.get(name) for name in used}
    else:
        said = (
            f"From `{source.path.name}`, which says nothing of its training. The first {len(SHAPE_OPTIONS)} "
            "are read from its shapes, the others are as published or as given:"
        )
        given = {name: getattr(options, name) for name in (*SHAPE_OPTIONS, *INPUT_OPTIONS)}
    rows = [[f"`--{name}`", PurePath(str(value)).name] for name, value in given.items() if value is not None]
    return f"{said}\n\n{table(['option', 'value'], rows)}"


def input_section(options: argparse.Namespace) -> str:
    size = options.image_size
    enlarged = int(1.1 * size)
    first = round((enlarged - size) / 2)
    order = "blue, green, red" if options.photo_channels == "bgr" else "red, green, blue"
    scaled = "and nothing else: no mean is subtracted"
    if options.normalize:
        scaled = "then normalised by ImageNet's mean and standard deviation, as in the program below"
    return (
        "What comes before the network is not in the files. Images are turned upright by their EXIF tag, and "
        "transparency is laid on white paper.\n\n"
        f"- **Sketch**: grey; resized to {enlarged} x {enlarged} pixels whatever its proportions, bilinear "
        f"with antialiasing; of that the middle, {size} x {size} from row and column {first} on; the same in "
        "all three channels.\n"
        f"- **Photo**: resized to {size} x {size} pixels whatever its proportions, in the same way; channels "
        f"in the order {order}.\n"
        f"- **Both**: values from 0 to 255, divided by 255, {scaled}; float32 (N, 3, {size}, {size})."
    )


def use_section(options: argparse.Namespace) -> str:
    place = ""
    if options.format == "safetensors":
        place = " Run it in the folder of the program that trained the network: it takes `models` from there."
    return (
        f"Photos are ranked by {definition(options)}, nearest first. In full, saved as `use.py`, after `pip "
        f"install {PACKAGES[options.format]}`; FOLDER is where this card lies.{place} It resizes with "
        "Pillow, within 1 of 255 levels of what the results above were taken with.\n\n"
        f"```python\n{usage(options)}```"
    )


def limits_section(source: Weights) -> str:
    gallery = (
        "the photos searched were trained on too, by the field's protocol, and new photos may be ranked worse"
    )
    if source.centers is not None and len(source.centers) < len(source.categories):
        gallery = "the categories searched for were not trained on"
    return "\n".join(
        [
            "- Meant for finding photos by drawings, in research and in comparisons with other methods.",
            f"- Results are of these drawings and photos; {gallery}.",
            "- Other styles of drawing, other categories and photos of other sources have not been tested.",
            "- It returns a ranking also where no photo fits; distances are not probabilities.",
            "- What is one-sided in its data is so in its rankings. No use that concerns people was tested.",
        ]
    )


def versions_section(source: Weights, versions: dict[str, str]) -> str:
    """Also the program's own revision, and all options of the training, of paths the name alone."""
    lines = [f"- written and checked with {listed(settings.versions() | versions)}"]
    lines.append(f"- by revision `{revision()}` of the program")
    if source.versions:
        lines.append(f"- trained with {listed(source.versions)}")
    if source.options:
        lines.append(f"- by revision `{source.revision or UNKNOWN}` of the program, with these options:")
        stored = json.dumps(without_folders(source.options), indent=2, ensure_ascii=False, default=str)
        lines.append(f"\n```json\n{stored}\n```")
    return "\n".join(lines)


def listed(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())
