"""What a run is: frozen configs of its network, input, loss, training and test (docs/method.md).

A `Config` is built once, from the options of the command line or in Python, and never changed: functions that
complete it, with published defaults or from a checkpoint, return a new one.

    config = make_config(dataset="sketchy", network="resnet18", margin=2.0)
"""

import argparse
import dataclasses
import logging
import os
import shlex
import shutil
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from datasets import dataset_facts
from datasets.annotations import list_path
from losses import loss_facts
from models import input_normalisation as network_normalisation
from models.weights import has_imagenet_weights
from options.check import check_loss
from run.input import describe_input
from utils.device import pick_device
from utils.errors import UserError
from utils.runs import LOGS

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NetworkConfig:
    """The network, which maps an image to `f_dim` features."""

    network: str = "resnext101"
    attention: str = "dase"
    se_activation: str = "sigmoid"
    se_reduction: int = 16
    dase_layer4: bool = False
    f_dim: int = 512


@dataclass(frozen=True)
class InputConfig:
    """The input of the network. None: as published for the network and data set."""

    image_size: int = 224
    photo_channels: str | None = None
    normalize: bool | None = None


@dataclass(frozen=True)
class LossConfig:
    """The loss. None: the published command's value, else the loss's default."""

    loss_type: str = "mems"
    margin: float | None = None
    scale: float | None = None
    annealing_step: int = 100_000
    center_norm: float = 1.0


@dataclass(frozen=True)
class TrainConfig:
    """The training. `lengthened` lists the earlier --num_steps of a training that was extended."""

    num_steps: int = 200_000
    lr: float = 1e-4
    augmentation: str = "published"
    backbone_weights: str = "auto"
    pad_pretrained_se: bool = False
    amp: str = "off"
    accumulate: int = 1
    sync_bn: bool = False
    compile: bool = False
    gradient_checkpointing: bool = False
    model_save_step: int = 20_000
    keep: int | None = None
    log_step: int = 50
    lengthened: tuple[int, ...] = ()


@dataclass(frozen=True)
class TestConfig:
    """The test. `pretrained_model` is the step of the checkpoint, -1 the newest."""

    __test__ = False  # pytest would collect it by its name

    test_distance: str = "euclidean"
    mirror: str = "on"
    all_definitions: bool = False
    margin_condition: str = "on"
    pretrained_model: int = -1
    hash_bits: tuple[int, ...] = (32, 64, 128)
    hash_gradient: str = "published"
    eval_memory: int = 1024


@dataclass(frozen=True)
class DataConfig:
    """The data set, its lists, and how its images are loaded."""

    dataset: str = "TUBerlin"
    data_path: Path = Path("datasets/data")
    anno_path: Path = Path("anno")
    batch_size: int = 22
    num_workers: int = 4
    skip_unreadable: bool = False
    cache_images: bool = False


@dataclass(frozen=True)
class MachineConfig:
    """The device of a run."""

    device: str = "auto"
    threads: int | None = None
    deterministic: bool = False


DATASET = "dataset"  # the value of --gallery for the photos of the data set


@dataclass(frozen=True)
class SearchConfig:
    """What is searched, and how."""

    query: tuple[Path, ...] = ()
    gallery: str = DATASET
    top: int = 10
    index: str = "flat"
    clean_query: str = "on"
    output: Path | None = None


@dataclass(frozen=True)
class ServeConfig:
    """The page of --phase=serve."""

    host: str = "127.0.0.1"
    port: int = 7860
    open: bool = False
    upload_mib: int = 10
    upload_megapixels: int = 50


@dataclass(frozen=True)
class TablesConfig:
    """Tables of experiments: which, with how many seeds, and learning rates for single losses."""

    table: tuple[str, ...] = ()
    seeds: int = 3
    lr_of: tuple[str, ...] = ()


@dataclass(frozen=True)
class Config:
    """The config of a run. `given` names the fields that were given; a checkpoint fills in the others."""

    save_path: str = "expr"
    seed: int = 0
    network: NetworkConfig = field(default_factory=NetworkConfig)
    input: InputConfig = field(default_factory=InputConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    test: TestConfig = field(default_factory=TestConfig)
    data: DataConfig = field(default_factory=DataConfig)
    machine: MachineConfig = field(default_factory=MachineConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    serve: ServeConfig = field(default_factory=ServeConfig)
    tables: TablesConfig = field(default_factory=TablesConfig)
    given: frozenset[str] = field(default=frozenset(), compare=False)

    @property
    def folder(self) -> Path:
        """The folder of the run, below logs/ in the current directory."""
        return LOGS / self.save_path

    def with_values(self, **values: Any) -> "Config":
        """A copy with other values for some fields, of any part."""
        parts = {}
        for part, names in PARTS.items():
            changed = {name: freeze(name, values.pop(name)) for name in names & values.keys()}
            if changed:
                parts[part] = dataclasses.replace(getattr(self, part), **changed)
        return dataclasses.replace(self, **parts, **values)

    def value(self, name: str) -> Any:
        """The value of the field `name`, of any part."""
        part = PART_OF.get(name)
        return getattr(getattr(self, part) if part else self, name)

    def as_dict(self) -> dict[str, Any]:
        """All fields by name as JSON values, for checkpoints and records."""
        return {name: to_plain(self.value(name)) for name in ("save_path", "seed", *PART_OF)}


PARTS = {
    part.name: frozenset(inner.name for inner in fields(part.default_factory))  # type: ignore[arg-type]
    for part in fields(Config)
    if dataclasses.is_dataclass(part.default_factory)
}
PART_OF = {name: part for part, names in PARTS.items() for name in sorted(names)}

# The fields in which a continued training must agree with its checkpoint, in the order in which tables list
# them. Those of "network" and "training" must agree in every phase; those of "run" may differ in a test, and
# default to the checkpoint's.
CHECKPOINT_FIELDS = {
    "dataset": "network",
    "image_size": "network",
    "batch_size": "run",
    "photo_channels": "network",
    "normalize": "network",
    "network": "network",
    "attention": "network",
    "se_activation": "network",
    "se_reduction": "network",
    "dase_layer4": "network",
    "f_dim": "network",
    "loss_type": "network",
    "backbone_weights": "training",
    "pad_pretrained_se": "training",
    "margin": "training",
    "scale": "training",
    "num_steps": "training",
    "annealing_step": "training",
    "center_norm": "training",
    "augmentation": "training",
    "lr": "training",
    "amp": "run",
    "accumulate": "run",
    "sync_bn": "run",
    "seed": "run",
}
NETWORK_FIELDS = tuple(name for name, kind in CHECKPOINT_FIELDS.items() if kind == "network")
TRAINING_FIELDS = tuple(name for name, kind in CHECKPOINT_FIELDS.items() if kind == "training")
RUN_FIELDS = tuple(name for name, kind in CHECKPOINT_FIELDS.items() if kind == "run")
CONTINUED_FIELDS = tuple(CHECKPOINT_FIELDS)
# The published recipe depends on data set and loss, and has no seed
RECIPE_FIELDS = tuple(name for name in CONTINUED_FIELDS if name not in ("dataset", "loss_type", "seed"))

# Margin and scale of the published commands, by loss and network
PUBLISHED_MARGINS = {("mems", "resnext101"): 4.0, ("mems", "alexnet"): 2.0, ("cosface", "resnext101"): 0.35}
PUBLISHED_SCALES = {("cosface", "resnext101"): 32.0}


def config_from_options(options: argparse.Namespace) -> Config:
    """The config that the options of the command line describe."""
    values = {
        name: getattr(options, name) for name in ("save_path", "seed", *PART_OF) if name != "lengthened"
    }
    return make_config(**values, given=frozenset(options.given))


def config_from_stored(stored: dict[str, Any]) -> Config:
    """The config from the "options" of a checkpoint or record, which `Config.as_dict` wrote."""
    return make_config(**{name: stored[name] for name in ("save_path", "seed", *PART_OF) if name in stored})


def make_config(**values: Any) -> Config:
    """A config of `values` by field names, of any part.

    Fields that are missing or None have their defaults: a flag that was not given is None.
    """
    return Config().with_values(**{name: value for name, value in values.items() if value is not None})


def freeze(name: str, value: Any) -> Any:
    """The value of the field `name` as a config holds it: lists as tuples, folders as paths."""
    if name in ("data_path", "anno_path"):
        return Path(value)
    return tuple(value) if isinstance(value, list) else value


def to_plain(value: Any) -> Any:
    """`value` for JSON: paths as strings, tuples as lists."""
    if isinstance(value, list | tuple):
        return [to_plain(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value


def resolve_loss(config: Config) -> Config:
    """Fill in the published command's margin and scale for the loss and network, else the loss's defaults.

    Raises UserError for an option that the loss does not have, or a value out of range.
    """
    check_loss(config.loss.loss_type, config.loss.margin, config.loss.scale, "annealing_step" in config.given)
    facts = loss_facts(config.loss.loss_type)
    margin, scale = config.loss.margin, config.loss.scale
    if margin is None and facts.default_margin is not None:
        margin = choose_default("margin", PUBLISHED_MARGINS, facts.default_margin, config)
    if scale is None and facts.default_scale is not None:
        scale = choose_default("scale", PUBLISHED_SCALES, facts.default_scale, config)
    return config.with_values(margin=margin, scale=scale)


def choose_default(
    name: str, published: dict[tuple[str, str], float], default: float, config: Config
) -> float:
    """The published command's value of `name` for the loss and network, else `default`; logs which."""
    loss, network = config.loss.loss_type, config.network.network
    value = published.get((loss, network))
    if value is None:
        log.info("%s %g: the default of %s", name, default, loss)
        return default
    log.info("%s %g: the published command's for %s with %s", name, value, loss, network)
    return value


def is_used_by_loss(name: str, loss_type: str) -> bool:
    """Whether the loss uses the field `name`: softmax, for example, has no margin."""
    loss = loss_facts(loss_type)
    if name in ("margin", "annealing_step"):
        return loss.default_margin is not None
    return name != "scale" or loss.default_scale is not None


def resolve_training(config: Config) -> Config:
    """Check the config of a training and fill in its defaults.

    --backbone_weights=auto becomes imagenet or none. Raises UserError for values that do not go together.
    """
    config = resolve_loss(config)
    weights = config.train.backbone_weights
    if weights == "auto":
        weights = "imagenet" if has_imagenet_weights(config.network.network) else "none"
    if config.train.pad_pretrained_se and (config.network.attention != "dase" or weights == "none"):
        raise UserError("--pad_pretrained_se needs --attention=dase and --backbone_weights other than none")
    network = config.network
    if network.dase_layer4 and (network.network, network.attention) != ("resnext101", "dase"):
        raise UserError("--dase_layer4 needs --network=resnext101 and --attention=dase")
    config = resolve_input(config.with_values(backbone_weights=weights))
    check_speed(config)
    steps, annealing = config.train.num_steps, config.loss.annealing_step
    if config.loss.margin is not None and annealing > steps:
        log.warning(
            "warning: the margin is annealed over %d steps, but training ends after %d: only %.2g of it will "
            "apply; consider a smaller --annealing_step",
            annealing,
            steps,
            steps / annealing,
        )
    return config


def check_speed(config: Config) -> None:
    """Raise UserError for options of speed and memory that conflict or that the machine cannot do."""
    train, batch_size = config.train, config.data.batch_size
    if train.accumulate > batch_size:
        raise UserError(f"--accumulate {train.accumulate} is more than --batch_size {batch_size}")
    if train.compile and train.gradient_checkpointing:
        raise UserError("--compile and --gradient_checkpointing do not go together; leave one out")
    compilers = (shlex.split(os.environ.get("CXX", "g++"))[0], "clang++", "c++")
    if train.compile and not any(map(shutil.which, compilers)):
        raise UserError("--compile needs a C++ compiler: install g++ or clang++, or leave the option out")
    if train.sync_bn and pick_device(config.machine).type != "cuda":
        raise UserError("--sync_bn needs CUDA: PyTorch has no synchronised BatchNorm for the CPU")


def resolve_input(config: Config) -> Config:
    """Fill in the published program's input for the network and data set where it was not given."""
    own = network_normalisation(config.network.network)
    normalize = bool(own) if config.input.normalize is None else config.input.normalize
    channels = config.input.photo_channels or published_channels(config.data.dataset)
    config = config.with_values(normalize=normalize, photo_channels=channels)
    if own or normalize:
        log.info("input: %s", describe_input(config))
    return config


def published_channels(dataset: str) -> str:
    """The order in which the published program feeds photos of `dataset`."""
    return dataset_facts(dataset).photo_channels


def published_recipe(config: Config) -> dict[str, Any]:
    """The published program's settings for the network, loss and data set of `config`.

    Only those that apply: no margin for a loss without a published command, no annealing without a margin.
    """
    network = "alexnet" if config.network.network == "alexnet" else "resnext101"
    loss = config.loss.loss_type
    published = Config(
        network=NetworkConfig(network=network),
        input=InputConfig(photo_channels=published_channels(config.data.dataset), normalize=False),
        loss=LossConfig(loss, PUBLISHED_MARGINS.get((loss, network)), PUBLISHED_SCALES.get((loss, network))),
        train=TrainConfig(backbone_weights="none" if network == "alexnet" else "imagenet"),
        data=DataConfig(batch_size=400 if network == "alexnet" else 22),
    )
    values = {name: published.value(name) for name in RECIPE_FIELDS}
    if config.loss.margin is None:
        del values["annealing_step"]
    return {name: value for name, value in values.items() if value is not None}


def require_same_as_checkpoint(
    config: Config, stored: dict[str, Any], names: tuple[str, ...], path: Path
) -> Config:
    """`config` with the fields `names` from the options `stored` in the checkpoint at `path`.

    Raises UserError if one was given with another value.
    """
    for name in names:
        if name in config.given and config.value(name) not in (stored[name], "auto"):
            raise UserError(
                f"{path} was made with --{name}={stored[name]}, not {config.value(name)}; leave the "
                "option out, or choose another --save_path"
            )
    return config.with_values(**{name: stored[name] for name in names})


def default_from_checkpoint(config: Config, stored: dict[str, Any], names: tuple[str, ...]) -> Config:
    """`config` with the fields `names` from the options `stored`, except those that were given."""
    values = {name: stored[name] for name in names if name in stored and name not in config.given}
    return config.with_values(**values)


def default_folders_from_checkpoint(config: Config, stored: dict[str, Any]) -> Config:
    """`config` with --data_path and --anno_path from the options `stored` unless they were given.

    If the stored folder no longer has what is needed but the default one does, the default stays.
    """
    dataset = config.data.dataset
    needed = {"data_path": Path(dataset), "anno_path": list_path(Path(), dataset, "sketch")}
    taken = {}
    for name, part in needed.items():
        if name in config.given or name not in stored:
            continue
        folder = Path(stored[name])
        if (folder / part).exists() or not (config.value(name) / part).exists():
            taken[name] = folder
    return config.with_values(**taken)
