"""Sketch-based image retrieval: domain-aware SE network, multiplicative Euclidean margin softmax.

python main.py --phase=prepare --dataset=sketchy                             make the annotation lists
python main.py --phase=train --dataset=sketchy --save_path=run --margin=4    train, then test
python main.py --phase=test --save_path=run                                  test the newest checkpoint
"""

import argparse
import logging
import os
import sys
import warnings
from importlib import import_module
from pathlib import Path

from experiments import TABLES
from losses import ALIASES, LOSSES
from models import ATTENTION, NETWORKS, SE_ACTIVATIONS
from phases.options import check_options
from utils.errors import UserError

PHASES = {
    "prepare": "phases.prepare",
    "train": "phases.train",
    "test": "phases.test",
    "export": "phases.export",
    "reproduce": "phases.reproduce",
    "report": "phases.report",
}
PROJECT = Path(__file__).resolve().parent


def main(argv: list[str] | None = None) -> int:
    """Run one phase and return the exit status: 0, 2 for a mistake of the user, 130 or 143 when stopped."""
    options = parse(argv)
    # Waiting threads shall sleep, not spin: beside loading processes on the same cores, spinning was seen to
    # slow a training step down eight times. It is read when torch loads OpenMP, so set before any phase.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # --num_workers is the user's choice; the README says what suits a machine with few cores
    warnings.filterwarnings("ignore", message="This DataLoader will create")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout, force=True)
    try:
        check_options(options)
        return import_module(PHASES[options.phase]).run(options) or 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """All options with their defaults, and as `given` the names of those that were on the command line."""
    parser = build_parser()
    options = parser.parse_args(argv)
    blank = argparse.Namespace(**dict.fromkeys(vars(options)))
    options.given = {
        name for name, value in vars(parser.parse_args(argv, blank)).items() if value is not None
    }
    return options


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=Formatter, allow_abbrev=False, fromfile_prefix_chars="@"
    )
    run = parser.add_argument_group("run")
    run.add_argument(
        "--phase", choices=sorted(PHASES), required=True, help="what to do; train goes on to test"
    )
    run.add_argument("--save_path", default="expr", help="the run's folder below logs/")
    run.add_argument("--seed", type=at_least(0, 2**63 - 1), default=0, help="of every random draw")
    run.add_argument("--device", default="auto", help="auto (CUDA if there is any), cpu, cuda, cuda:1, ...")

    data = parser.add_argument_group("data")
    data.add_argument(
        "--dataset", default="TUBerlin", help="TUBerlin, sketchy, demo, or your own: its folder's name"
    )
    data.add_argument(
        "--data_path", type=Path, default=Path("datasets/data"), help="folder with the data sets"
    )
    data.add_argument(
        "--anno_path", type=Path, default=PROJECT / "anno", help="folder with the annotation lists"
    )
    data.add_argument(
        "--image_size", type=at_least(32), default=224, help="side of the network's input, pixels"
    )
    data.add_argument(
        "--photo_channels",
        choices=("rgb", "bgr"),
        help="channel order of photos; default: as published, bgr for TUBerlin, else rgb",
    )
    data.add_argument(
        "--normalize",
        action="store_true",
        default=None,
        help="normalise the input by ImageNet's mean and standard deviation; off feeds [0, 1], as published",
    )
    data.add_argument(
        "--batch_size", type=at_least(1), default=22, help="sketches per training step, and as many photos"
    )
    data.add_argument("--num_workers", type=at_least(0), default=4, help="loading processes of each domain")
    data.add_argument(
        "--cache_images",
        action="store_true",
        default=None,
        help="decode images once and keep their pixels below datasets/cache: 3 x image_size^2 bytes a photo, "
        "and height x width of its file a sketch",
    )

    network = parser.add_argument_group("network")
    network.add_argument("--network", choices=sorted(NETWORKS), default="resnext101", help="which backbone")
    network.add_argument(
        "--attention", choices=ATTENTION, default="dase", help="which SE modules; none drops them"
    )
    network.add_argument(
        "--se_activation",
        choices=SE_ACTIVATIONS,
        default="sigmoid",
        help="of the squeezed channels: sigmoid as published, relu as in the SE paper",
    )
    network.add_argument(
        "--se_reduction", type=at_least(1), default=16, help="channels of an SE module per squeezed channel"
    )
    network.add_argument("--f_dim", type=at_least(1), default=512, help="features per image")
    network.add_argument(
        "--backbone_weights",
        default="auto",
        help="auto, imagenet, none (random), or a file of weights; auto is imagenet for resnext101 and "
        "resnet18 when a training starts, else none",
    )
    network.add_argument(
        "--pad_pretrained_se",
        action="store_true",
        default=None,
        help="keep the pretrained fc2 of domain-aware modules, with a zero domain column; off leaves it at "
        "random, as published",
    )

    loss = parser.add_argument_group("loss")
    loss.add_argument(
        "--loss_type", choices=sorted([*LOSSES, *ALIASES]), default="mems", help="lmcl is cosface"
    )
    loss.add_argument(
        "--margin", type=float, help="default: the paper's, mems 4 (alexnet 2), cosface 0.35, a-softmax 4"
    )
    loss.add_argument("--scale", type=float, help="of cosface alone; default: the paper's, 32")
    loss.add_argument(
        "--annealing_step",
        type=at_least(0),
        default=100_000,
        help="steps until the whole margin applies, 0: at once",
    )

    train = parser.add_argument_group("train")
    train.add_argument("--num_steps", type=at_least(1), default=200_000, help="training steps")
    train.add_argument(
        "--lr", type=float, default=1e-4, help="learning rate of Adam, for network and centres"
    )
    train.add_argument(
        "--model_save_step", type=at_least(1), default=20_000, help="steps between checkpoints"
    )
    train.add_argument("--log_step", type=at_least(1), default=50, help="steps between rows of the log")

    speed = parser.add_argument_group("speed and memory of training")
    speed.add_argument(
        "--amp",
        choices=("off", "bf16", "fp16"),
        default="off",
        help="precision of the network where that is safe; the loss is always float32",
    )
    speed.add_argument(
        "--compile", action="store_true", default=None, help="compile the network first: needs a C++ compiler"
    )
    speed.add_argument(
        "--accumulate",
        type=at_least(1),
        default=1,
        help="take each batch in so many parts, one after the other, where memory is small",
    )
    speed.add_argument(
        "--gradient_checkpointing",
        action="store_true",
        default=None,
        help="compute activations again in the backward pass rather than keep them: slower, less memory",
    )
    speed.add_argument(
        "--sync_bn",
        action="store_true",
        default=None,
        help="under torchrun: BatchNorm over the batches of all processes; needs CUDA",
    )

    test = parser.add_argument_group("test")
    test.add_argument(
        "--test_distance", choices=("euclidean", "angular"), default="euclidean", help="between features"
    )
    test.add_argument(
        "--mirror",
        choices=("on", "off"),
        default="on",
        help="on: the nearest of the four pairs of an image and its mirror image counts, as published",
    )
    test.add_argument(
        "--all_definitions",
        action="store_true",
        default=None,
        help="print mAP@200 by all four denominators in use: see docs/metrics.md",
    )
    test.add_argument(
        "--margin_condition",
        choices=("on", "off"),
        default="on",
        help="measure distances inside and between categories: takes all pairs of features",
    )
    test.add_argument(
        "--pretrained_model", type=at_least(-1), default=-1, help="step of the checkpoint, -1: newest"
    )
    test.add_argument(
        "--hash_bits", type=at_least(1), nargs="*", default=[32, 64, 128], help="lengths of hash codes"
    )
    test.add_argument(
        "--eval_memory", type=at_least(1), default=1024, help="MiB for distances, beside the features"
    )

    export = parser.add_argument_group("export")
    export.add_argument(
        "--format", choices=("published",), default="published", help="the published program's two files"
    )

    prepare = parser.add_argument_group("prepare")
    prepare.add_argument(
        "--test_per_category", type=at_least(1), help="test sketches; default: sketchy 50, any other 10"
    )
    prepare.add_argument(
        "--protocol",
        choices=("seen", "zero-shot"),
        default="seen",
        help="seen: every category is trained on and tested; zero-shot: some are tested and never trained on",
    )
    prepare.add_argument(
        "--class_list",
        type=Path,
        help="file with one category a line: those to use, or for zero-shot the unseen ones; default: all, "
        "and for zero-shot 25 of sketchy, 30 of TUBerlin, a fifth of any other, drawn by --seed",
    )
    prepare.add_argument("--force", action="store_true", default=None, help="overwrite lists that exist")
    prepare.add_argument(
        "--skip_unreadable",
        action="store_true",
        default=None,
        help="leave unreadable images out of the lists",
    )

    reproduce = parser.add_argument_group(
        "reproduce and report", "all options above hold for every row that does not set its own"
    )
    reproduce.add_argument(
        "--table",
        nargs="+",
        choices=sorted(TABLES),
        metavar="NAME",
        help=f"of experiments/: {', '.join(sorted(TABLES))}; report writes all of them by default",
    )
    reproduce.add_argument(
        "--seeds", type=at_least(1), default=3, help="trainings of each row, from --seed on"
    )
    reproduce.add_argument(
        "--lr_of",
        nargs="*",
        metavar="LOSS=RATE",
        help="learning rates of single losses, mems=2e-4 say; --lr holds for the others",
    )
    return parser


class Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows defaults, and the description as it is written."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return super()._get_help_string(action) if action.default is not None else action.help


def at_least(minimum: int, maximum: float = float("inf")) -> type:
    """A type for argparse: an integer of `minimum` or more, and no more than `maximum`."""

    def parse_integer(text: str) -> int:
        value = int(text)
        if value < minimum:
            raise argparse.ArgumentTypeError(f"{value} is less than {minimum}")
        if value > maximum:
            raise argparse.ArgumentTypeError(f"{value} is more than {maximum}")
        return value

    parse_integer.__name__ = f"integer of {minimum} or more"  # argparse names it in its message
    return parse_integer  # type: ignore[return-value]


if __name__ == "__main__":
    sys.exit(main())
