"""The options of the command line, by groups.

Names and defaults are the published program's (docs/method.md, Files); new ones follow its style.
"""

import argparse
import io
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

from experiments import TABLES
from losses import ALIASES, LOSSES
from models import ATTENTION, NETWORK_NAMES, SE_ACTIVATIONS
from phases import PHASES
from retrieval import INDICES
from utils.errors import UserError

PROJECT = Path(__file__).resolve().parents[1]
FORMATS = ("published", "onnx", "torchscript", "safetensors")


def parse(argv: list[str] | None = None, description: str | None = None) -> argparse.Namespace:
    """All options with their defaults, and as `given` the names of those that were on the command line.

    `save_path` is the first of those given, `compared` the others.
    """
    parser = build_parser(description)
    options = parser.parse_args(argv)
    blank = argparse.Namespace(**dict.fromkeys(vars(options)))
    options.given = {
        name for name, value in vars(parser.parse_args(argv, blank)).items() if value is not None
    }
    options.save_path, *options.compared = options.save_path
    return options


def parse_values(values: dict[str, Any]) -> argparse.Namespace:
    """As `parse`, from Python's values by the options' names. Raises UserError for what does not fit.

    True and False stand for an option's "on" and "off", or for its presence; None leaves it out.
    """
    parser = build_parser()
    known = {action.dest: action for action in parser._actions}
    arguments = []
    for name, value in values.items():
        if name not in known:
            raise UserError(f"there is no option {name}; python main.py --help lists them all")
        if isinstance(value, bool) and isinstance(known[name], argparse.BooleanOptionalAction):
            arguments.append(f"--{name}" if value else f"--no-{name}")
        elif isinstance(value, bool) and known[name].nargs == 0:
            arguments += [f"--{name}"] * value
        elif isinstance(value, list | tuple):
            arguments += [f"--{name}", *map(str, value)]
        elif value is not None:
            arguments.append(f"--{name}={('off', 'on')[value] if isinstance(value, bool) else value}")
    message = io.StringIO()
    try:
        with redirect_stderr(message):
            return parse(arguments)
    except SystemExit:
        raise UserError(message.getvalue().strip().rpartition("error: ")[2]) from None


def build_parser(description: str | None = None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=description, formatter_class=Formatter, allow_abbrev=False, fromfile_prefix_chars="@"
    )
    run_options(parser)
    data_options(parser)
    network_options(parser)
    loss_options(parser)
    train_options(parser)
    speed_options(parser)
    test_options(parser)
    search_options(parser)
    serve_options(parser)
    export_options(parser)
    prepare_options(parser)
    reproduce_options(parser)
    return parser


def run_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("run")
    group.add_argument("--phase", choices=PHASES, default="train", help="what to do; train goes on to test")
    group.add_argument(
        "--save_path",
        nargs="+",
        default=["expr"],
        metavar="RUN",
        help="the run's folder below logs/; for report also several; search, serve and index without it "
        "take the network that comes with this program, ready",
    )
    group.add_argument("--seed", type=at_least(0, 2**63 - 1), default=0, help="of every random draw")
    group.add_argument("--device", default="auto", help="auto (CUDA if there is any), cpu, cuda, cuda:1, ...")
    group.add_argument(
        "--threads",
        type=at_least(1, 4096),
        help="threads that PyTorch computes with on the CPU; default: its own choice, mostly one a core",
    )
    group.add_argument(
        "--deterministic",
        action="store_true",
        default=None,
        help="the same weights and figures, to the last bit, on every call: slower on CUDA; on the CPU they "
        "are so anyway, for one kind of processor and number of threads",
    )


def data_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("data")
    group.add_argument(
        "--dataset", default="TUBerlin", help="TUBerlin, sketchy, demo, or your own: its folder's name"
    )
    group.add_argument(
        "--data_path", type=path, default=Path("datasets/data"), help="folder with the data sets"
    )
    group.add_argument(
        "--anno_path", type=path, default=Path("anno"), help="folder with the annotation lists"
    )
    group.add_argument(
        "--image_size", type=at_least(32, 4096), default=224, help="side of the network's input, pixels"
    )
    group.add_argument(
        "--photo_channels",
        choices=("rgb", "bgr"),
        help="channel order of photos; default: as published, bgr for TUBerlin, else rgb, also for a folder "
        "given as --gallery",
    )
    group.add_argument(
        "--normalize",
        action=argparse.BooleanOptionalAction,
        help="normalise the input by mean and standard deviation: the network's own, else ImageNet's; "
        "default: on for networks that state their own (efficientnet_lite0, ...), "
        "else off, which feeds [0, 1], as published",
    )
    group.add_argument(
        "--augmentation",
        choices=("published", "strong"),
        default="published",
        help="of training images; strong: sketches also bent, with wider, doubled and broken lines, and "
        "photos cropped, lightened or darkened: for few images a category, and for coarse drawings",
    )
    group.add_argument(
        "--batch_size", type=at_least(1), default=22, help="sketches per training step, and as many photos"
    )
    group.add_argument("--num_workers", type=at_least(0), default=4, help="loading processes of each domain")
    group.add_argument(
        "--skip_unreadable",
        action="store_true",
        default=None,
        help="open all images first and go on without those that cannot be read, said by name; prepare "
        "leaves them out of the lists",
    )
    group.add_argument(
        "--cache_images",
        action="store_true",
        default=None,
        help="decode images once and keep their pixels below datasets/cache: 3 x image_size^2 bytes a photo, "
        "and height x width of its file a sketch",
    )


def network_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("network")
    group.add_argument(
        "--network",
        choices=NETWORK_NAMES,
        metavar="NETWORK",
        default="resnext101",
        help=f"which backbone: {', '.join(NETWORK_NAMES)}; the last for any network of timm "
        "that has SE modules, timm:seresnet50 say",
    )
    group.add_argument(
        "--attention", choices=ATTENTION, default="dase", help="which SE modules; none drops them"
    )
    group.add_argument(
        "--se_activation",
        choices=SE_ACTIVATIONS,
        default="sigmoid",
        help="activation of the squeezed channels: sigmoid as published, relu as in SE networks elsewhere",
    )
    group.add_argument(
        "--se_reduction", type=at_least(1), default=16, help="channels of an SE module per squeezed channel"
    )
    group.add_argument(
        "--dase_layer4",
        action="store_true",
        default=None,
        help="domain-aware modules in layer4 of resnext101 as well, as in the paper's figure; off: plain SE "
        "modules there, as published",
    )
    group.add_argument("--f_dim", type=at_least(1), default=512, help="features per image")
    group.add_argument(
        "--backbone_weights",
        default="auto",
        help="auto, imagenet, none (random), ready (the network that comes with this program), or a file of "
        "weights; auto is imagenet when a training starts, "
        "and none for alexnet, of which there are none",
    )
    group.add_argument(
        "--pad_pretrained_se",
        action="store_true",
        default=None,
        help="keep the pretrained fc2 of domain-aware modules, with a zero domain column; off leaves it at "
        "random, as published",
    )


def loss_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("loss")
    group.add_argument(
        "--loss_type", choices=sorted([*LOSSES, *ALIASES]), default="mems", help="lmcl is cosface"
    )
    group.add_argument(
        "--margin",
        type=float,
        help="margin of the loss; default: mems 4 (with alexnet 2) and cosface 0.35, as in the published "
        "commands; a-softmax 4",
    )
    group.add_argument(
        "--scale",
        type=float,
        help="factor of the logits of cosface, the only loss that has one; default: 32, as in the published "
        "command",
    )
    group.add_argument(
        "--annealing_step",
        type=at_least(0),
        default=100_000,
        help="steps until the whole margin applies, 0: at once",
    )
    group.add_argument(
        "--center_norm",
        type=float,
        default=1.0,
        help="norm of the class centres when a training starts: 1 as published, for 100,000 steps and more; "
        "3 for trainings of minutes or hours, because centres close together keep the loss high until they "
        "have moved apart, by about a learning rate a step",
    )


def train_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("train")
    group.add_argument("--num_steps", type=at_least(1), default=200_000, help="training steps")
    group.add_argument(
        "--lr", type=float, default=1e-4, help="learning rate of Adam, for network and centres"
    )
    group.add_argument(
        "--model_save_step", type=at_least(1), default=20_000, help="steps between checkpoints"
    )
    group.add_argument(
        "--keep",
        type=at_least(1),
        metavar="N",
        help="remove older checkpoints once there are N newer ones, but not the one with the highest MAP in "
        "result.json; default: keep all, as published",
    )
    group.add_argument("--log_step", type=at_least(1), default=50, help="steps between rows of the log")


def speed_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("speed and memory of training")
    group.add_argument(
        "--amp",
        choices=("off", "bf16", "fp16"),
        default="off",
        help="precision of the network where that is safe; the loss is always float32",
    )
    group.add_argument(
        "--compile", action="store_true", default=None, help="compile the network first: needs a C++ compiler"
    )
    group.add_argument(
        "--accumulate",
        type=at_least(1),
        default=1,
        help="take each batch in so many parts, one after the other, where memory is small",
    )
    group.add_argument(
        "--gradient_checkpointing",
        action="store_true",
        default=None,
        help="compute activations again in the backward pass rather than keep them: slower, less memory",
    )
    group.add_argument(
        "--sync_bn",
        action="store_true",
        default=None,
        help="under torchrun: BatchNorm over the batches of all processes; needs CUDA",
    )


def test_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("test")
    group.add_argument(
        "--test_distance",
        choices=("euclidean", "angular"),
        default="euclidean",
        help="distance between features; the log says when the loss trains for the other one",
    )
    group.add_argument(
        "--mirror",
        choices=("on", "off"),
        default="on",
        help="on: the nearest of the four pairs of an image and its mirror image counts, as published",
    )
    group.add_argument(
        "--all_definitions",
        action="store_true",
        default=None,
        help="print mAP@200 by all four denominators in use: see docs/metrics.md",
    )
    group.add_argument(
        "--margin_condition",
        choices=("on", "off"),
        default="on",
        help="measure distances inside and between categories: takes all pairs of features",
    )
    group.add_argument(
        "--pretrained_model", type=at_least(-1), default=-1, help="step of the checkpoint, -1: newest"
    )
    group.add_argument(
        "--hash_bits", type=at_least(1), nargs="*", default=[32, 64, 128], help="lengths of hash codes"
    )
    group.add_argument(
        "--hash_gradient",
        choices=("published", "identity"),
        default="published",
        help="how the gradient passes the sign when hash codes are fitted: published scales it by 1/|u|, "
        "where u is what the sign is taken of; identity leaves it as it is",
    )
    group.add_argument(
        "--eval_memory", type=at_least(1), default=1024, help="MiB for distances, beside the features"
    )


def search_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("search, index and serve")
    group.add_argument(
        "--query",
        nargs="+",
        type=path,
        metavar="DRAWING",
        help="what to search with: image files, or folders of them",
    )
    group.add_argument(
        "--gallery",
        type=not_empty,
        default="dataset",
        help="where to search: dataset, the photos that the run is tested against, or a folder of images",
    )
    group.add_argument("--top", type=at_least(1), default=10, help="photos shown for each drawing")
    group.add_argument(
        "--index",
        choices=INDICES,
        default="flat",
        help="flat looks at every photo; hnsw and ivfpq at likely ones alone; binary compares hash codes of "
        "the longest of --hash_bits",
    )
    group.add_argument(
        "--clean_query",
        choices=("on", "off"),
        default="on",
        help="on: even out paper, invert white on black, trim empty margins where a drawing needs it",
    )
    group.add_argument(
        "--output", type=path, help="folder for what search writes; default: search/ in the run's folder"
    )
    group.add_argument(
        "--evaluate",
        action="store_true",
        default=None,
        help="of index: recall@10, MAP, bytes per photo and queries/s of every index, on the test sketches",
    )


def serve_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("serve")
    group.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 lets other machines in"
    )
    group.add_argument("--port", type=at_least(1, 65535), default=7860, help="TCP port")
    group.add_argument("--open", action="store_true", default=None, help="open the page in the browser")
    group.add_argument(
        "--upload_mib", type=at_least(1), default=10, help="largest file that can be uploaded, MiB"
    )
    group.add_argument(
        "--upload_megapixels",
        type=at_least(1, 178),  # Pillow decodes no more
        default=50,
        help="largest image that can be uploaded, million pixels",
    )


def export_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("export")
    group.add_argument(
        "--format",
        choices=FORMATS,
        default="published",
        help="published: the published program's two files; onnx, torchscript: one plain network per "
        "domain; safetensors: the weights",
    )


def prepare_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("prepare")
    group.add_argument(
        "--test_per_category", type=at_least(1), help="test sketches; default: sketchy 50, any other 10"
    )
    group.add_argument(
        "--protocol",
        choices=("seen", "zero-shot"),
        default="seen",
        help="seen: every category is trained on and tested; zero-shot: some are tested and never trained on",
    )
    group.add_argument(
        "--class_list",
        type=path,
        help="file with one category a line: those to use, or for zero-shot the unseen ones; default: all, "
        "and for zero-shot 25 of sketchy, 30 of TUBerlin, a fifth of any other, drawn by --seed",
    )
    group.add_argument("--force", action="store_true", default=None, help="overwrite lists that exist")


def reproduce_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "reproduce and report", "all options above hold for every row that does not set its own"
    )
    group.add_argument(
        "--table",
        nargs="+",
        choices=sorted(TABLES),
        metavar="NAME",
        help=f"of experiments/: {', '.join(sorted(TABLES))}; report writes all of them by default",
    )
    group.add_argument(
        "--dry_run",
        action="store_true",
        default=None,
        help="of reproduce: list the runs, their folders and how far each is; train nothing, write nothing",
    )
    group.add_argument("--seeds", type=at_least(1), default=3, help="trainings of each row, from --seed on")
    group.add_argument(
        "--lr_of",
        nargs="*",
        metavar="LOSS=RATE",
        help="learning rates of single losses, mems=2e-4 say; --lr holds for the others",
    )


class Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows defaults, and the description as it is written."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if isinstance(action.default, list):
            return f"{action.help} (default: {' '.join(map(str, action.default))})"
        return super()._get_help_string(action) if action.default is not None else action.help


def path(text: str) -> Path:
    """A type for argparse: the path of a file or folder. An empty one would be the current folder."""
    return Path(not_empty(text))


def not_empty(text: str) -> str:
    """A type for argparse: any text but an empty one."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty: name a file or folder")
    return text


not_empty.__name__ = "text"  # as docs/options.md has it


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
