"""Declares every option: the phases that accept it, and its arguments for argparse, by groups.

Names and defaults are those of the published program (docs/method.md, Files); new options follow its style.
"""

import argparse
import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments import TABLES
from losses import ALIASES, LOSSES
from models import ATTENTION, NETWORK_NAMES, SE_ACTIVATIONS
from options.phases import PHASES
from retrieval import INDICES

EXPORT_FORMATS = ("published", "onnx", "torchscript", "safetensors")

ALL_PHASES = tuple(PHASES)
TRAINING_PHASES = ("train", "reproduce")
TESTING_PHASES = ("train", "test", "reproduce")
SEARCH_PHASES = ("index", "search", "serve")
RUN_PHASES = ("train", "test", "index", "search", "serve", "report", "export", "reproduce")
# Phases that accept an option without showing it in --help: report because it writes tables, and all that
# read a checkpoint because the option may be given if it agrees, and because a published pair lacks most.
REPORT_PHASE = ("report",)
CHECKPOINT_PHASES = ("test", "index", "search", "serve", "report", "export")


@dataclass(frozen=True)
class Option:
    """`shown` are the phases whose --help shows the option, `also` further phases that accept it."""

    name: str
    shown: tuple[str, ...]
    also: tuple[str, ...]
    arguments: dict[str, Any]  # for argparse

    @property
    def is_flag(self) -> bool:
        return self.arguments.get("action") == "store_true"

    @property
    def default(self) -> Any:
        return self.arguments.get("default")

    def is_accepted_by(self, phase: str) -> bool:
        return phase in self.shown or phase in self.also


def option(name: str, shown: Iterable[str], also: Iterable[str] = (), **arguments: Any) -> Option:
    return Option(name, tuple(shown), tuple(also), arguments)


def flag(name: str, shown: Iterable[str], also: Iterable[str] = (), **arguments: Any) -> Option:
    """An option without a value: True if given, else None."""
    return option(name, shown, also, action="store_true", **arguments)


def parse_path(text: str) -> Path:
    """A path, not empty: an empty one would be the current folder."""
    return Path(parse_text(text))


def parse_text(text: str) -> str:
    """Text that is not empty."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty: give a file or folder")
    return text


parse_path.__name__ = "path"  # as docs/options.md shows the types
parse_text.__name__ = "text"


def at_least(minimum: int, maximum: float = math.inf) -> type:
    """A type for argparse: an integer from `minimum` to `maximum`."""

    def parse_integer(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not an integer of {minimum} or more") from None
        if value < minimum:
            raise argparse.ArgumentTypeError(f"{value} is less than {minimum}")
        if value > maximum:
            raise argparse.ArgumentTypeError(f"{value} is more than {maximum}")
        return value

    parse_integer.__name__ = f"integer of {minimum} or more"
    return parse_integer  # type: ignore[return-value]


def parse_number(text: str) -> float:
    """A finite number."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text} is out of range: it is not a finite number")
    return value


parse_number.__name__ = "number"


def parse_positive(text: str) -> float:
    """A finite number above 0."""
    value = parse_number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{value:g} must be above 0")
    return value


parse_positive.__name__ = "number above 0"


def parse_device(text: str) -> str:
    """auto, cpu, cuda or cuda:N."""
    kind, colon, index = text.partition(":")
    if text in ("auto", "cpu", "cuda") or (kind == "cuda" and colon and index.isdecimal()):
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is not auto, cpu, cuda or cuda:N, for example cuda:1")


parse_device.__name__ = "text"


def one_of(choices: Iterable[str]) -> type:
    """A type for argparse: one of `choices`. The error suggests the most similar one."""
    listed = list(choices)

    def choose(text: str) -> str:
        if text not in choices:
            nearest = difflib.get_close_matches(text, listed, n=1)
            hint = f"; did you mean {nearest[0]}?" if nearest else ""
            raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(listed)}{hint}")
        return text

    return choose  # type: ignore[return-value]


GROUPS: dict[str, tuple[Option, ...]] = {
    "run": (
        option(
            "phase", ALL_PHASES, choices=PHASES, default="train", help="what to do; train tests at the end"
        ),
        option(
            "save_path",
            RUN_PHASES,
            nargs="+",
            default=["expr"],
            metavar="RUN",
            help="folder of the run below logs/; report compares several; without it, search, serve and "
            "index use the ready network that comes with the program",
        ),
        option(
            "seed",
            ("prepare", "train", "test", "index", "report", "reproduce"),
            ("search", "serve", "export"),
            type=at_least(0, 2**63 - 1),
            default=0,
            help="random seed",
        ),
        option(
            "device",
            RUN_PHASES,
            ("prepare",),
            type=parse_device,
            default="auto",
            help="auto (CUDA if available), cpu, cuda, cuda:1, ...",
        ),
        option(
            "threads",
            ("train", "test", "search", "index", "serve", "report", "reproduce"),
            type=at_least(1, 4096),
            help="CPU threads that PyTorch computes with; default: its own choice, usually one per core",
        ),
        flag(
            "deterministic",
            TESTING_PHASES,
            ("index", "search", "serve", "report", "export"),
            help="bitwise repeatable weights and results, slower on CUDA; on the CPU they are repeatable "
            "anyway, given the same type of processor and number of threads",
        ),
    ),
    "data": (
        option(
            "dataset",
            ("prepare", "train", "test", "report", "reproduce"),
            ("index", "search", "serve", "export"),
            default="TUBerlin",
            help="TUBerlin, sketchy, demo, or the name of your own data set's folder",
        ),
        option(
            "data_path",
            ALL_PHASES,
            type=parse_path,
            default=Path("datasets/data"),
            help="folder with the data sets",
        ),
        option(
            "anno_path",
            ALL_PHASES,
            type=parse_path,
            default=Path("anno"),
            help="folder with the annotation lists",
        ),
        option(
            "image_size",
            TRAINING_PHASES,
            CHECKPOINT_PHASES,
            type=at_least(32, 4096),
            default=224,
            help="side of the network's input, in pixels",
        ),
        option(
            "photo_channels",
            ("train", "index", "search", "serve", "reproduce"),
            CHECKPOINT_PHASES,
            choices=("rgb", "bgr"),
            help="channel order of photos; default: as published, bgr for TUBerlin, else rgb, also for a "
            "folder given as --gallery",
        ),
        option(
            "normalize",
            TRAINING_PHASES,
            CHECKPOINT_PHASES,
            action=argparse.BooleanOptionalAction,
            help="normalise the input by mean and standard deviation: the network's own, else ImageNet's; "
            "default: on for networks that define their own (efficientnet_lite0, ...), else off, which feeds "
            "values in [0, 1], as published",
        ),
        option(
            "augmentation",
            TRAINING_PHASES,
            CHECKPOINT_PHASES,
            choices=("published", "strong"),
            default="published",
            help="augmentation of training images; strong also bends sketches, widens, doubles and breaks "
            "their lines, and crops, lightens or darkens photos; it helps with few images per category and "
            "with coarse drawings",
        ),
        option(
            "batch_size",
            ("train", "test", "index", "reproduce"),
            ("search", "serve", "report", "export"),
            type=at_least(1),
            default=22,
            help="sketches per training step, and the same number of photos",
        ),
        option(
            "num_workers",
            ("prepare", "train", "test", "index", "reproduce"),
            ("search", "serve", "report", "export"),
            type=at_least(0),
            default=4,
            help="DataLoader workers for each domain",
        ),
        flag(
            "skip_unreadable",
            ("prepare", "train", "test", "index", "reproduce"),
            REPORT_PHASE,
            help="open all images first, name those that cannot be read, and continue without them; prepare "
            "leaves them out of the lists",
        ),
        flag(
            "cache_images",
            TESTING_PHASES,
            REPORT_PHASE,
            help="decode images once and cache their pixels below datasets/cache: 3 x image_size^2 bytes per "
            "photo, height x width bytes per sketch",
        ),
    ),
    "network": (
        option(
            "network",
            TRAINING_PHASES,
            CHECKPOINT_PHASES,
            choices=NETWORK_NAMES,
            metavar="NETWORK",
            default="resnext101",
            help=f"backbone: {', '.join(NETWORK_NAMES)}; the last stands for any timm network with SE "
            "modules, for example timm:seresnet50",
        ),
        option(
            "attention",
            TRAINING_PHASES,
            CHECKPOINT_PHASES,
            choices=ATTENTION,
            default="dase",
            help="SE modules: domain-aware (dase), plain (se) or none",
        ),
        option(
            "se_activation",
            TRAINING_PHASES,
            CHECKPOINT_PHASES,
            choices=SE_ACTIVATIONS,
            default="sigmoid",
            help="activation of the squeezed channels of SE modules: sigmoid as published, relu as in other "
            "SE networks",
        ),
        option(
            "se_reduction",
            TRAINING_PHASES,
            CHECKPOINT_PHASES,
            type=at_least(1),
            default=16,
            help="reduction ratio of SE modules: input channels per squeezed channel",
        ),
        flag(
            "dase_layer4",
            TRAINING_PHASES,
            CHECKPOINT_PHASES,
            help="domain-aware modules in layer4 of resnext101 as well, as in the paper's figure; without "
            "it, layer4 has plain SE modules, as published",
        ),
        option(
            "f_dim",
            TRAINING_PHASES,
            CHECKPOINT_PHASES,
            type=at_least(1),
            default=512,
            help="number of features per image",
        ),
        option(
            "backbone_weights",
            TRAINING_PHASES,
            CHECKPOINT_PHASES,
            default="auto",
            help="weights that a training starts from: imagenet, none (random), ready (the network that "
            "comes with the program), a file of weights, or auto: imagenet, but none for alexnet, which has "
            "no published weights",
        ),
        flag(
            "pad_pretrained_se",
            TRAINING_PHASES,
            CHECKPOINT_PHASES,
            help="keep the pretrained fc2 of domain-aware modules, with a zero column for the domain; "
            "without it, fc2 is initialised at random, as published",
        ),
    ),
    "loss": (
        option(
            "loss_type",
            TRAINING_PHASES,
            CHECKPOINT_PHASES,
            choices=sorted([*LOSSES, *ALIASES]),
            default="mems",
            help="loss function; lmcl is cosface",
        ),
        option(
            "margin",
            TRAINING_PHASES,
            CHECKPOINT_PHASES,
            type=parse_number,
            help="margin of the loss; default: mems 4 (with alexnet 2) and cosface 0.35, as in the published "
            "commands; a-softmax 4",
        ),
        option(
            "scale",
            TRAINING_PHASES,
            CHECKPOINT_PHASES,
            type=parse_positive,
            help="factor of the logits, for cosface only; default: 32, as in the published command",
        ),
        option(
            "annealing_step",
            TRAINING_PHASES,
            CHECKPOINT_PHASES,
            type=at_least(0),
            default=100_000,
            help="number of steps until the full margin applies; 0 applies it from the first step",
        ),
        option(
            "center_norm",
            TRAINING_PHASES,
            CHECKPOINT_PHASES,
            type=parse_positive,
            default=1.0,
            help="norm of the class centres when a training starts: 1 as published, for 100,000 steps and "
            "more; 3 for trainings of minutes or hours, because centres that start close together keep the "
            "loss high until they have moved apart, by about one learning rate per step",
        ),
    ),
    "train": (
        option(
            "num_steps",
            TRAINING_PHASES,
            CHECKPOINT_PHASES,
            type=at_least(1),
            default=200_000,
            help="number of training steps",
        ),
        option(
            "lr",
            TRAINING_PHASES,
            CHECKPOINT_PHASES,
            type=parse_positive,
            default=1e-4,
            help="learning rate of Adam, for network and centres",
        ),
        option(
            "model_save_step",
            TRAINING_PHASES,
            REPORT_PHASE,
            type=at_least(1),
            default=20_000,
            help="steps between checkpoints",
        ),
        option(
            "keep",
            TRAINING_PHASES,
            REPORT_PHASE,
            type=at_least(1),
            metavar="N",
            help="keep only the N newest checkpoints and the one with the highest MAP in result.json; "
            "default: keep all, as published",
        ),
        option(
            "log_step",
            TRAINING_PHASES,
            REPORT_PHASE,
            type=at_least(1),
            default=50,
            help="steps between rows of the training log",
        ),
    ),
    "speed and memory of training": (
        option(
            "amp",
            TRAINING_PHASES,
            REPORT_PHASE,
            choices=("off", "bf16", "fp16"),
            default="off",
            help="mixed precision of the network; the loss is always computed in float32",
        ),
        flag(
            "compile",
            TRAINING_PHASES,
            REPORT_PHASE,
            help="compile the network with torch.compile; needs a C++ compiler",
        ),
        option(
            "accumulate",
            TRAINING_PHASES,
            REPORT_PHASE,
            type=at_least(1),
            default=1,
            help="split each batch into this many parts and accumulate their gradients, to save memory",
        ),
        flag(
            "gradient_checkpointing",
            TRAINING_PHASES,
            REPORT_PHASE,
            help="recompute activations in the backward pass instead of storing them: slower, less memory",
        ),
        flag(
            "sync_bn",
            ("train",),
            help="synchronise BatchNorm over all processes of torchrun; needs CUDA",
        ),
    ),
    "test": (
        option(
            "test_distance",
            (*TESTING_PHASES, "index", "search", "serve", "report"),
            ("export",),
            choices=("euclidean", "angular"),
            default="euclidean",
            help="distance between features; a warning is logged if the loss trains for the other one",
        ),
        option(
            "mirror",
            (*TESTING_PHASES, "index", "search", "serve", "report"),
            ("export",),
            choices=("on", "off"),
            default="on",
            help="on: the distance between two images is the smallest of the four between them and their "
            "mirror images, as published",
        ),
        flag(
            "all_definitions",
            TESTING_PHASES,
            REPORT_PHASE,
            help="print mAP@200 by all four denominators in use (docs/metrics.md)",
        ),
        option(
            "margin_condition",
            TESTING_PHASES,
            REPORT_PHASE,
            choices=("on", "off"),
            default="on",
            help="on: measure the distances within and between categories over all pairs of features",
        ),
        option(
            "pretrained_model",
            CHECKPOINT_PHASES,
            type=at_least(-1),
            default=-1,
            help="step of the checkpoint; -1: the newest",
        ),
        option(
            "hash_bits",
            (*TESTING_PHASES, "index", "search", "serve"),
            ("report", "export"),
            type=at_least(1),
            nargs="*",
            default=[32, 64, 128],
            help="lengths of hash codes",
        ),
        option(
            "hash_gradient",
            (*TESTING_PHASES, "index"),
            ("search", "serve", "report", "export"),
            choices=("published", "identity"),
            default="published",
            help="gradient through the sign when hash codes are fitted: published scales it by 1/|u|, where "
            "u is the argument of the sign; identity passes it unchanged",
        ),
        option(
            "eval_memory",
            (*TESTING_PHASES, "index"),
            REPORT_PHASE,
            type=at_least(1),
            default=1024,
            help="memory for distances in MiB, in addition to the features",
        ),
    ),
    "search, index and serve": (
        option(
            "query",
            ("search",),
            nargs="+",
            type=parse_path,
            metavar="DRAWING",
            help="drawings to search with: image files, or folders of them",
        ),
        option(
            "gallery",
            SEARCH_PHASES,
            type=parse_text,
            default="dataset",
            help="photos to search: dataset (those that the run is tested on) or a folder of images",
        ),
        option(
            "top",
            ("search", "serve"),
            type=at_least(1),
            default=10,
            help="number of photos shown for each drawing",
        ),
        option(
            "index",
            SEARCH_PHASES,
            choices=INDICES,
            default="flat",
            help="flat compares the query with every photo, hnsw and ivfpq only with likely ones; binary "
            "compares hash codes of the largest of --hash_bits",
        ),
        option(
            "clean_query",
            ("search", "serve"),
            choices=("on", "off"),
            default="on",
            help="on: even out the paper, invert white on black and trim empty margins if a drawing needs it",
        ),
        option(
            "output",
            ("search",),
            type=parse_path,
            help="folder for the results of search; default: search/ in the run's folder",
        ),
        flag(
            "evaluate",
            ("index",),
            help="compare all indices on the test sketches: recall@10, MAP, bytes per photo and queries/s",
        ),
    ),
    "serve": (
        option(
            "host",
            ("serve",),
            default="127.0.0.1",
            help="address to listen on; 0.0.0.0 makes the page available to other machines",
        ),
        option("port", ("serve",), type=at_least(1, 65535), default=7860, help="TCP port"),
        flag("open", ("serve",), help="open the page in the browser"),
        option(
            "upload_mib",
            ("serve",),
            type=at_least(1),
            default=10,
            help="largest file that can be uploaded, MiB",
        ),
        option(
            "upload_megapixels",
            ("serve",),
            type=at_least(1, 178),  # Pillow decodes no more
            default=50,
            help="largest image that can be uploaded, in million pixels",
        ),
    ),
    "export": (
        option(
            "format",
            ("export",),
            choices=EXPORT_FORMATS,
            default="published",
            help="published: the published program's two files; onnx, torchscript: one plain network per "
            "domain; safetensors: the weights",
        ),
    ),
    "prepare": (
        option(
            "test_per_category",
            ("prepare",),
            type=at_least(1),
            help="number of test sketches per category; default: sketchy 50, any other 10",
        ),
        option(
            "protocol",
            ("prepare",),
            choices=("seen", "zero-shot"),
            default="seen",
            help="seen: every category is trained on and tested; zero-shot: some are only tested on",
        ),
        option(
            "class_list",
            ("prepare",),
            type=parse_path,
            help="file with one category per line: those to use, or for zero-shot the unseen ones; default: "
            "all, and for zero-shot 25 of sketchy, 30 of TUBerlin, a fifth of any other, drawn by --seed",
        ),
        flag("force", ("prepare",), help="replace existing lists; the old ones are kept under another name"),
    ),
    "tables of experiments": (
        option(
            "table",
            ("reproduce", "report"),
            nargs="+",
            choices=sorted(TABLES),
            metavar="NAME",
            help=f"tables of experiments/: {', '.join(sorted(TABLES))}; report writes all of them by default",
        ),
        option(
            "seeds",
            ("reproduce", "report"),
            type=at_least(1),
            default=3,
            help="number of trainings per row, with seeds counted up from --seed",
        ),
        flag(
            "dry_run",
            ("reproduce",),
            help="list the runs, their folders and their progress; train and write nothing",
        ),
        option(
            "lr_of",
            ("reproduce", "report"),
            nargs="*",
            metavar="LOSS=RATE",
            help="learning rates for single losses, for example mems=2e-4; --lr applies to the others",
        ),
    ),
}
OPTIONS = {declared.name: declared for group in GROUPS.values() for declared in group}
