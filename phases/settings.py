"""From options to settings: published defaults, what belongs together, and what a run was made with."""

import argparse
import logging
import os
import platform
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
import torchvision
from torch import nn

from datasets import dataset_facts, transforms
from datasets.annotations import Annotation, list_path
from losses import loss_facts
from models import build_network, network_module
from models import input_normalisation as network_normalisation
from models.weights import has_imagenet_weights
from options.check import check_margin
from utils import distributed
from utils.errors import UserError
from utils.seeding import be_deterministic

log = logging.getLogger(__name__)

# Margin and scale of the published commands, by loss and network
PUBLISHED_MARGINS = {("mems", "resnext101"): 4.0, ("mems", "alexnet"): 2.0, ("cosface", "resnext101"): 0.35}
PUBLISHED_SCALES = {("cosface", "resnext101"): 32.0}

# What a checkpoint belongs to. Given again, these options must agree with it; not given, they are its.
NETWORK_OPTIONS = (
    "dataset",
    "image_size",
    "photo_channels",
    "normalize",
    "network",
    "attention",
    "se_activation",
    "se_reduction",
    "dase_layer4",
    "f_dim",
    "loss_type",
)
TRAINING_OPTIONS = (
    "margin",
    "scale",
    "annealing_step",
    "center_norm",
    "augmentation",
    "num_steps",
    "lr",
    "backbone_weights",
    "pad_pretrained_se",
)
# A continued training must agree in these too; a test may have its own, and takes the run's if none is given.
RUN_OPTIONS = ("seed", "batch_size", "amp", "accumulate", "sync_bn")

# Options that came later, as they were before: runs of then can be continued and told from others.
ADDED = {
    "amp": "off",
    "accumulate": 1,
    "sync_bn": False,
    "dase_layer4": False,
    "center_norm": 1.0,
    "augmentation": "published",
}


def run_folder(options: argparse.Namespace) -> Path:
    """The folder of the run, below logs/ in the current directory."""
    return Path("logs") / options.save_path


def resolve_loss(options: argparse.Namespace) -> None:
    """Fill in the published command's margin and scale for the loss and network, else the loss's defaults.

    Raises UserError for an option that the loss has no use for, or a value out of its range.
    """
    check_margin(options)
    loss = loss_facts(options.loss_type)
    if options.margin is None and loss.default_margin is not None:
        options.margin = take_default("margin", PUBLISHED_MARGINS, loss.default_margin, options)
    if options.scale is None and loss.default_scale is not None:
        options.scale = take_default("scale", PUBLISHED_SCALES, loss.default_scale, options)


def take_default(
    name: str, published: dict[tuple[str, str], float], default: float, options: argparse.Namespace
) -> float:
    """The published command's value of `name` for the loss and network, else `default`, logged."""
    value = published.get((options.loss_type, options.network))
    if value is None:
        log.info("%s %g: the default of %s", name, default, options.loss_type)
        return default
    log.info("%s %g: the published command's for %s with %s", name, value, options.loss_type, options.network)
    return value


def is_used(name: str, loss_type: str) -> bool:
    """Whether the option `name` has a meaning for the loss: not a margin, say, where it has none."""
    loss = loss_facts(loss_type)
    if name in ("margin", "annealing_step"):
        return loss.default_margin is not None
    return name != "scale" or loss.default_scale is not None


def resolve_training(options: argparse.Namespace) -> None:
    """Check what only a training needs, and turn --backbone_weights=auto into imagenet or none."""
    resolve_loss(options)
    if options.backbone_weights == "auto":
        options.backbone_weights = "imagenet" if has_imagenet_weights(options.network) else "none"
    if options.pad_pretrained_se and (options.attention != "dase" or options.backbone_weights == "none"):
        raise UserError("--pad_pretrained_se needs --attention=dase and --backbone_weights other than none")
    options.pad_pretrained_se = bool(options.pad_pretrained_se)
    if options.dase_layer4 and (options.network, options.attention) != ("resnext101", "dase"):
        raise UserError("--dase_layer4 needs --network=resnext101 and --attention=dase")
    options.dase_layer4 = bool(options.dase_layer4)
    resolve_input(options)
    resolve_speed(options)
    if options.margin is not None and options.annealing_step > options.num_steps:
        log.warning(
            "warning: the margin is annealed over %d steps, but training ends after %d: only %.2g of it will "
            "apply; consider a smaller --annealing_step",
            options.annealing_step,
            options.num_steps,
            options.num_steps / options.annealing_step,
        )


def resolve_speed(options: argparse.Namespace) -> None:
    """Check the options that make a training fast or small, against one another and the machine."""
    for name in ("compile", "gradient_checkpointing", "sync_bn"):
        setattr(options, name, bool(getattr(options, name)))
    if options.accumulate > options.batch_size:
        raise UserError(f"--accumulate {options.accumulate} is more than --batch_size {options.batch_size}")
    if options.compile and options.gradient_checkpointing:
        raise UserError("--compile and --gradient_checkpointing do not go together; leave one out")
    if options.compile and not any(
        map(shutil.which, (shlex.split(os.environ.get("CXX", "g++"))[0], "clang++", "c++"))
    ):
        raise UserError("--compile needs a C++ compiler: install g++ or clang++, or leave the option out")
    if options.sync_bn and pick_device(options).type != "cuda":
        raise UserError("--sync_bn needs CUDA: PyTorch has no synchronised BatchNorm for the CPU")


def published_recipe(options: argparse.Namespace) -> dict[str, Any]:
    """The published program's settings for the network, loss and data set of `options`.

    Only what applies to that loss: no margin where no published command has the loss, no annealing without
    a margin.
    """
    network = "alexnet" if options.network == "alexnet" else "resnext101"
    recipe = {
        "image_size": 224,
        "batch_size": 400 if network == "alexnet" else 22,
        "photo_channels": published_channels(options.dataset),
        "normalize": False,
        "network": network,
        "attention": "dase",
        "se_activation": "sigmoid",
        "se_reduction": 16,
        "dase_layer4": False,
        "f_dim": 512,
        "backbone_weights": "none" if network == "alexnet" else "imagenet",
        "pad_pretrained_se": False,
        "margin": PUBLISHED_MARGINS.get((options.loss_type, network)),
        "scale": PUBLISHED_SCALES.get((options.loss_type, network)),
        "num_steps": 200_000,
        "annealing_step": None if options.margin is None else 100_000,
        "center_norm": 1.0,
        "augmentation": "published",
        "lr": 1e-4,
        "amp": "off",
        "accumulate": 1,
        "sync_bn": False,
    }
    return {name: value for name, value in recipe.items() if value is not None}


def resolve_input(options: argparse.Namespace) -> None:
    """Fill in what the published program feeds where nothing was given."""
    own = network_normalisation(options.network)
    if options.normalize is None and own:
        options.normalize = True
    options.normalize = bool(options.normalize)
    if own or options.normalize:
        log.info("input: %s", describe_input(options))
    if options.photo_channels is None:
        options.photo_channels = published_channels(options.dataset)


def input_normalisation(options: argparse.Namespace) -> transforms.Normalisation | None:
    """Mean and standard deviation that the input is normalised by: the network's own, else ImageNet's."""
    if not options.normalize:
        return None
    return network_normalisation(options.network) or transforms.IMAGENET


def describe_input(options: argparse.Namespace) -> str:
    """What is fed to the network, in words."""
    figures = input_normalisation(options)
    if figures is None:
        return "values in [0, 1], not normalised"
    mean, std = (", ".join(f"{value:g}" for value in dict.fromkeys(part)) for part in figures)
    return f"normalised by mean {mean}, standard deviation {std}"


def published_channels(dataset: str) -> str:
    """The order in which the published program feeds photos of `dataset`."""
    return dataset_facts(dataset).photo_channels


def network_of(options: argparse.Namespace) -> nn.Module:
    """The network that the options describe, freshly initialised."""
    return build_network(
        options.network,
        attention=options.attention,
        f_dim=options.f_dim,
        reduction=options.se_reduction,
        activation=options.se_activation,
        dase_layer4=bool(options.dase_layer4),
    )


def blocks_of(network: nn.Module, name: str) -> list[nn.Module]:
    """The residual blocks of a network. Raises UserError if it has none."""
    block = getattr(network_module(name), "Block", None)
    if block is None:
        raise UserError(f"--gradient_checkpointing has no meaning for --network={name}: it has no blocks")
    return [module for module in network.modules() if isinstance(module, block)]


def pick_device(options: argparse.Namespace) -> torch.device:
    """The device that --device names; of several processes each takes the GPU of its number on the machine.

    From here on, --threads holds. With --deterministic whatever is computed there then repeats to the last
    bit. Float32 is not rounded to
    TF32 there, whatever the environment says. Raises UserError if it is not there.
    """
    if options.deterministic:
        be_deterministic()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    torch.set_float32_matmul_precision("highest")  # TORCH_ALLOW_TF32_CUBLAS_OVERRIDE=1 makes it "high"
    torch.backends.cudnn.allow_tf32 = False
    name = options.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if distributed.launched() and name.startswith("cuda"):
        if name != "cuda":
            raise UserError(f"--device {name} names one GPU, but torchrun gives every process its own")
        name = f"cuda:{distributed.local_rank()}"
        if torch.cuda.device_count() > distributed.local_rank():
            torch.cuda.set_device(distributed.local_rank())
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError("only cpu and cuda are supported")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"--device {name} cannot be used: {reason}; try --device=cpu") from error
    return device


def adopt(options: argparse.Namespace, stored: dict[str, Any], names: tuple[str, ...], path: Path) -> None:
    """Take the options `names` from those `stored` in the checkpoint at `path`.

    Raises UserError if one was given on the command line with another value.
    """
    stored = {**ADDED, **stored}
    for name in names:
        if name not in stored:
            raise UserError(
                f"{path} does not say its --{name}: it was made by another version of this program"
            )
        if name in options.given and getattr(options, name) not in (stored[name], "auto"):
            raise UserError(
                f"{path} was made with --{name}={stored[name]}, not {getattr(options, name)}; leave the "
                "option out, or choose another --save_path"
            )
        setattr(options, name, stored[name])


def inherit(options: argparse.Namespace, stored: dict[str, Any], names: tuple[str, ...]) -> None:
    """Take the options `names` from those `stored`, but for those given on the command line."""
    for name in names:
        if name not in options.given:
            setattr(options, name, stored.get(name, getattr(options, name)))


def inherit_folders(options: argparse.Namespace, stored: dict[str, Any]) -> None:
    """Take --data_path and --anno_path from those `stored` where none is given.

    If what is wanted is not there any more, but in the default folder, the default stays.
    """
    wanted = {"data_path": options.dataset, "anno_path": list_path(Path(), options.dataset, "sketch")}
    for name, part in wanted.items():
        if name in options.given or name not in stored:
            continue
        folder = Path(stored[name])
        if (folder / part).exists() or not (getattr(options, name) / part).exists():
            setattr(options, name, folder)


def check_lists(data: Annotation, lists: str, path: Path) -> None:
    """Raise UserError unless the checkpoint at `path`, whose lists have the digest `lists`, is of `data`.

    With another split, sketches that were trained on would be tested with.
    """
    if lists != data.digest():
        raise UserError(
            f"{path} was trained with other annotation lists; put those back (--anno_path), or train on "
            "these under another --save_path"
        )


def stored_options(options: argparse.Namespace) -> dict[str, Any]:
    """All options as plain values, for checkpoints and result files."""
    return {name: plain(value) for name, value in vars(options).items() if name not in ("given", "compared")}


def plain(value: Any) -> Any:
    """Paths, also in lists, as strings."""
    if isinstance(value, list):
        return [plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value


def versions() -> dict[str, str]:
    """The versions that a figure depends on."""
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "torchvision": str(torchvision.__version__),
        "numpy": np.__version__,
        "pillow": PIL.__version__,
    }
