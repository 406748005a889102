"""Loads a trained network and its class centres from a checkpoint of this program or a published pair."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from datasets import DATASETS
from datasets.annotations import Annotation
from losses import ALIASES, LOSSES, loss_class
from models import READY, ready_network
from models.recognise import recognise_network
from run import validation
from run.config import (
    NETWORK_FIELDS,
    RUN_FIELDS,
    TRAINING_FIELDS,
    Config,
    default_folders_from_checkpoint,
    default_from_checkpoint,
    require_same_as_checkpoint,
    resolve_input,
    resolve_loss,
)
from run.lists import load_lists
from run.network import build
from utils import checkpoint_files, checkpoints, published
from utils.errors import UserError
from utils.runs import describe_missing

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint, without the data it was trained on.

    `config` is the requested one, completed from the checkpoint. `centers` is (C, f_dim) float32, None if
    there is no file of them. Of the training: `options`, `lists` (the digest of its lists), `categories`
    (those trained on first), `versions`, `revision` (the git commit), `machine`, and `excluded` (unreadable
    images that it skipped). All of these are empty if the checkpoint does not store them.
    """

    config: Config
    step: int
    path: Path
    network: nn.Module
    centers: np.ndarray | None
    options: dict[str, Any] = field(default_factory=dict)
    lists: str = ""
    categories: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    revision: str = ""
    machine: dict[str, Any] = field(default_factory=dict)
    excluded: tuple[str, ...] = ()
    familiarity_limit: float | None = None  # see retrieval.familiarity


@dataclass(frozen=True, kw_only=True)
class TestableCheckpoint(Checkpoint):
    """A checkpoint with the lists that it is tested on."""

    data: Annotation


def find_file(config: Config) -> Path:
    """The file with the network of --pretrained_model in the run's folder, of this program before others.

    For --save_path=ready that of the network that comes with the program, unless a run has that name.
    Raises UserError if there is none, naming the steps that are there.
    """
    folder = config.folder / "model"
    pairs = checkpoint_files.saved_pairs(folder)
    networks = {step: pair.network for step, pair in pairs.items() if pair.network}
    own = {
        step: checkpoint_files.checkpoint_path(folder, step) for step in checkpoint_files.saved_steps(folder)
    }
    available = {**networks, **own}
    step = config.test.pretrained_model
    if config.save_path == READY and step == -1 and not available and not pairs:
        return ready_network.FILE
    if step == -1 and not available and pairs:
        step = max(pairs)
    if not available and not pairs:
        raise UserError(describe_missing(config.save_path))
    if step in pairs and step not in available:
        lacking = checkpoint_files.pair_path(folder, checkpoint_files.NETWORK, step).name
        raise UserError(f"the pair of step {step} in {folder} is incomplete: there is no {lacking}")
    return checkpoints.pick_step(folder, available, step)


def load(config: Config) -> TestableCheckpoint:
    """Read the checkpoint of --pretrained_model with its lists, and complete the config from it.

    Raises UserError if it is missing, damaged or does not fit the config, the lists or itself.
    """
    weights = load_without_lists(config)
    config = weights.config
    data = load_lists(config, weights.excluded, training=False)
    if not data.train_sketches:
        log.warning(
            "warning: the lists in %s have no training sketches; if the checkpoint was trained on those that "
            "they test with, the results mean little",
            config.data.anno_path,
        )
    elif weights.lists:
        check_lists(data, weights.lists, weights.path)
    else:
        log.warning(
            "warning: the checkpoint does not store its lists; if they are not those in %s, it may be tested "
            "on sketches that it was trained on",
            config.data.anno_path,
        )
    if data.train_sketches and weights.centers is not None and len(weights.centers) != data.num_train_classes:
        raise UserError(
            f"the centres in {weights.path.parent} are of {len(weights.centers)} classes, the lists of "
            f"{config.data.dataset} of {data.num_train_classes}; check --dataset and --anno_path"
        )
    return TestableCheckpoint(**vars(weights), data=data)


def check_lists(data: Annotation, lists: str, path: Path) -> None:
    """Raise UserError unless the lists of the checkpoint at `path`, with the digest `lists`, are `data`.

    With another split, it would be tested on sketches that it was trained on.
    """
    if lists != data.digest():
        raise UserError(
            f"{path} was trained with other annotation lists; restore those (--anno_path), or train on "
            "these under another --save_path"
        )


def load_without_lists(config: Config) -> Checkpoint:
    """As `load`, but without the lists: the data set need not be there."""
    path = find_file(config)
    match = checkpoint_files.PAIR_NAME.fullmatch(path.name)
    return load_published(config, path, int(match[2])) if match else load_own(config, path)


def load_own(config: Config, path: Path) -> Checkpoint:
    ready = path == ready_network.FILE
    state = (
        validation.validate(ready_network.read_ready(), path) if ready else validation.read_checkpoint(path)
    )
    stored_options = state["options"]
    config = require_same_as_checkpoint(config, stored_options, NETWORK_FIELDS + TRAINING_FIELDS, path)
    config = default_from_checkpoint(config, stored_options, (*RUN_FIELDS, "test_distance"))
    config = default_folders_from_checkpoint(config, stored_options)
    validation.check_network(config, state["network"], path)
    network = build(config.network)
    checkpoints.load_strictly(network, state["network"], path)
    # centres of another width make load_strictly fail below, with any number of classes
    centers = state["loss"].get("centers", torch.empty(0))
    classes = len(centers) if centers.shape[1:] == (config.network.f_dim,) else 1
    criterion = loss_class(config.loss.loss_type)(classes, config.network.f_dim)
    checkpoints.load_strictly(criterion, state["loss"], path)
    centers = criterion.centers.detach().numpy()
    return Checkpoint(
        config=config,
        step=state["step"],
        path=path,
        network=network,
        centers=centers,
        options=stored_options,
        lists=state["lists"],
        categories=state["categories"],
        versions=state["versions"],
        revision=state["revision"],
        machine=state["machine"],
        excluded=tuple(state["left_out"]),
        familiarity_limit=state.get("familiarity_limit"),  # only the last checkpoint of a training has one
    )


def load_published(config: Config, path: Path, step: int) -> Checkpoint:
    """Load a pair of the published program; what its two files do not store is as published, unless given."""
    state = published.read_state(path)
    recognised = recognise_network(state)
    if recognised is None:
        raise UserError(f"{path} is of no network known here: it has no last layer of any")
    stored = {
        "network": recognised.network,
        "attention": recognised.attention,
        "se_reduction": recognised.choose_reduction(config.network.se_reduction),
        "f_dim": recognised.f_dim,
        "dase_layer4": recognised.dase_layer4,
    }
    config = require_same_as_checkpoint(config, stored, tuple(stored), path)
    validation.check_network(config, state, path)
    network = build(config.network)
    checkpoints.load_strictly(network, state, path)
    log.info(
        "published checkpoint %s: %s (%s, reduction %d, %d features)",
        path,
        recognised.network,
        recognised.attention,
        stored["se_reduction"],
        recognised.f_dim,
    )
    losses = find_losses(config, path, step)
    centers = None
    if losses:
        loss_type, file = losses
        config = resolve_loss(config.with_values(loss_type=loss_type))
        centers = read_centers(file, config.network.f_dim)
    if "dataset" not in config.given:
        config = guess_dataset(config, None if centers is None else len(centers))
    config = resolve_input(config)
    return Checkpoint(config, step, path, network, centers)


def find_losses(config: Config, path: Path, step: int) -> tuple[str, Path] | None:
    """Loss type and file of the class centres beside the network at `path`; None, with a warning, if none."""
    losses = checkpoint_files.saved_pairs(path.parent)[step].losses
    if "loss_type" in config.given:
        losses = {n: file for n, file in losses.items() if ALIASES.get(n, n) == config.loss.loss_type}
    if not losses:
        loss_type = config.loss.loss_type if "loss_type" in config.given else "<loss_type>"
        lacking = checkpoint_files.pair_path(path.parent, loss_type, step).name
        log.warning("warning: no %s beside %s: no class centres, so no hash codes", lacking, path.name)
        return None
    if len(losses) > 1:
        raise UserError(
            f"{path} has several losses beside it ({', '.join(sorted(losses))}); name one with --loss_type"
        )
    name, file = next(iter(losses.items()))
    if ALIASES.get(name, name) not in LOSSES:
        raise UserError(f"{file} is of an unknown loss; known are {', '.join(sorted(LOSSES))}")
    return ALIASES.get(name, name), file


def read_centers(file: Path, f_dim: int) -> np.ndarray:
    """The class centres in a published loss file, (C, f_dim) float32. Raises UserError if there are none."""
    centers = published.read_state(file).get("centers")
    if centers is None or centers.dim() != 2:
        raise UserError(f"{file} has no entry centers of shape (classes, f_dim)")
    if centers.shape[1] != f_dim:
        raise UserError(
            f"{file} has centres of {centers.shape[1]} features, the network beside it gives "
            f"{f_dim}: they are not from the same training"
        )
    return centers.detach().float().numpy()


def guess_dataset(config: Config, classes: int | None) -> Config:
    """`config` with the published data set that has `classes` classes; else the default, with a warning."""
    fitting = [name for name, facts in DATASETS.items() if facts.categories == classes]
    if classes is not None and len(fitting) == 1:
        log.info("data set %s: the one with %d classes", fitting[0], classes)
        return config.with_values(dataset=fitting[0])
    log.warning(
        "warning: data set %s, the default: the checkpoint does not store it; give --dataset",
        config.data.dataset,
    )
    return config
