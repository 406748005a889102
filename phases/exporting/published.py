"""--format=published: the pair of state dicts that the published program loads.

They go to a folder of their own, so that `--phase=test --save_path=<save_path>/published` tests them.
"""

import argparse
import logging
from typing import Any

import torch

from models import TIMM_PREFIX
from phases import settings, trained
from phases.exporting.source import announce
from utils import checkpoint_files, checkpoints
from utils.errors import UserError
from utils.files import remove_leftovers
from utils.locks import exclusive
from utils.runs import describe_missing

log = logging.getLogger(__name__)

RUN_SETTINGS = ("test_distance", "data_path", "anno_path")
USUAL = {
    "image_size": 224,
    "se_activation": "sigmoid",
    "test_distance": "euclidean",
    "seed": 0,
    "batch_size": 22,
    "data_path": "datasets/data",
    "anno_path": "anno",
}


def run(options: argparse.Namespace) -> None:
    """Write one of this program's checkpoints below logs/<save_path>/published/model."""
    folder = settings.run_folder(options)
    if not checkpoint_files.saved_steps(folder / "model"):
        raise UserError(describe_missing(options.save_path))
    path = checkpoints.find(folder / "model", options.pretrained_model)
    weights = trained.load_own(options, path)  # what is not whole is not handed on
    announce(options, weights)
    if options.network.startswith(TIMM_PREFIX):
        raise UserError(
            f"a published pair does not say its network, and {options.network} is not told by its weights "
            "alone: export it with --format=safetensors, onnx or torchscript"
        )
    target = folder / "published" / "model"
    with exclusive(target):
        remove_leftovers(target)
        for what, content in (
            (checkpoint_files.NETWORK, weights.network.state_dict()),
            (options.loss_type, {"centers": torch.from_numpy(weights.centers)}),
        ):
            file = checkpoint_files.pair_path(target, what, weights.step)
            checkpoints.save(file, dict(content))
            log.info("wrote %s: %d entries", file, len(content))
    for line in unsaid(options):
        log.warning("warning: %s", line)
    stored = {**settings.ADDED, **weights.options}
    vars(options).update({name: stored[name] for name in (*RUN_SETTINGS, *settings.RUN_OPTIONS)})


def unsaid(options: argparse.Namespace) -> list[str]:
    """What the published program does otherwise than this checkpoint needs, as sentences."""
    lines = []
    published_attention = ("se", 1) if options.network == "alexnet" else ("dase", 16)
    if (options.attention, options.se_reduction) != published_attention or options.network == "resnet18":
        lines.append(
            f"the published program builds no {options.network} with --attention={options.attention} "
            f"--se_reduction={options.se_reduction}: only this program can load the pair"
        )
    if options.dase_layer4:
        lines.append("the published program has plain SE in layer4: only this program can load the pair")
    if options.se_activation != "sigmoid" or options.normalize:
        lines.append("the published program knows no --se_activation and no --normalize")
    return lines


def values_unsaid(options: argparse.Namespace) -> dict[str, Any]:
    """What a pair does not say, to be called after `run`: its data set, and all that is not the default."""
    values = {"dataset": options.dataset}
    values |= {
        name: vars(options)[name] for name, usual in USUAL.items() if str(vars(options)[name]) != str(usual)
    }
    if options.photo_channels != settings.published_channels(options.dataset):
        values["photo_channels"] = options.photo_channels
    return values | ({"normalize": True} if options.normalize else {})
