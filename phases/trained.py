"""A trained network and its class centres, from one of this program's checkpoints or a published pair."""

import argparse
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from datasets import DATASETS
from datasets.annotations import Annotation
from losses import ALIASES, LOSSES, loss_class
from models import READY, ready_network
from models.recognise import recognise
from phases import settings, stored
from phases.lists import load_lists
from utils import checkpoint_files, checkpoints, published
from utils.errors import UserError
from utils.runs import describe_missing

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Weights:
    """What a checkpoint holds, without the data it was trained on.

    `centers` is (C, f_dim) float32, None if there is no file of them. `options` is what the training was
    given, `lists` the digest of its lists, `categories` theirs, trained on first, `versions` those of the
    training, `revision` the program's of then, `machine` what it ran on and `left_out` the images that it did
    without: all empty if the checkpoint does not say.
    """

    step: int
    path: Path
    network: nn.Module
    centers: np.ndarray | None
    options: dict[str, Any]
    lists: str
    categories: list[str]
    versions: dict[str, str]
    revision: str
    machine: dict[str, Any]
    left_out: tuple[str, ...]
    familiarity_limit: float | None  # see retrieval.familiarity


@dataclass(frozen=True)
class Trained(Weights):
    """What a checkpoint brings to a test: its weights, and the lists that it belongs to."""

    data: Annotation


def find(options: argparse.Namespace) -> Path:
    """The file with the network of --pretrained_model in the run's folder, of this program before others.

    For --save_path=ready that of the network that comes with this program, unless a run has that name.
    Raises UserError if there is none, naming the steps that are there.
    """
    folder = settings.run_folder(options) / "model"
    pairs = checkpoint_files.saved_pairs(folder)
    networks = {step: pair.network for step, pair in pairs.items() if pair.network}
    own = {step: checkpoint_files.path_for(folder, step) for step in checkpoint_files.saved_steps(folder)}
    available = {**networks, **own}
    wanted = options.pretrained_model
    if options.save_path == READY and wanted == -1 and not available and not pairs:
        return ready_network.FILE
    if wanted == -1 and not available and pairs:
        wanted = max(pairs)
    if not available and not pairs:
        raise UserError(describe_missing(options.save_path))
    if wanted in pairs and wanted not in available:
        lacking = checkpoint_files.pair_path(folder, checkpoint_files.NETWORK, wanted).name
        raise UserError(f"the pair of step {wanted} in {folder} is incomplete: there is no {lacking}")
    return checkpoints.pick(folder, available, wanted)


def load(options: argparse.Namespace) -> Trained:
    """Read the checkpoint of --pretrained_model with its lists, and complete `options` by what it says.

    Raises UserError if it is missing, damaged or does not fit the options, the lists or itself.
    """
    weights = load_weights(options)
    data = load_lists(options, weights.left_out, training=False)
    if not data.train_sketches:
        log.warning(
            "warning: the lists in %s have no training sketches; if the checkpoint was trained on those that "
            "they test with, the figures say little",
            options.anno_path,
        )
    elif weights.lists:
        settings.check_lists(data, weights.lists, weights.path)
    else:
        log.warning(
            "warning: the checkpoint does not say its lists; if they are not those in %s, it is tested on "
            "sketches that it has seen",
            options.anno_path,
        )
    if data.train_sketches and weights.centers is not None and len(weights.centers) != data.trained:
        raise UserError(
            f"the centres in {weights.path.parent} are of {len(weights.centers)} classes, the lists of "
            f"{options.dataset} of {data.trained}; check --dataset and --anno_path"
        )
    return Trained(**vars(weights), data=data)


def load_weights(options: argparse.Namespace) -> Weights:
    """As `load`, but without the lists: the data set need not be there."""
    path = find(options)
    match = checkpoint_files.PAIR_NAME.fullmatch(path.name)
    return load_published(options, path, int(match[2])) if match else load_own(options, path)


def load_own(options: argparse.Namespace, path: Path) -> Weights:
    ready = path == ready_network.FILE
    state = stored.checked(ready_network.read_ready(), path) if ready else stored.read(path)
    settings.adopt(options, state["options"], settings.NETWORK_OPTIONS + settings.TRAINING_OPTIONS, path)
    settings.inherit(options, state["options"], (*settings.RUN_OPTIONS, "test_distance"))
    settings.inherit_folders(options, state["options"])
    stored.check_network(options, state["network"], path)
    network = settings.network_of(options)
    checkpoints.load_strictly(network, state["network"], path)
    # without centres of this width, the loading says so; those of none say how many there are for nothing
    centers = state["loss"].get("centers", torch.empty(0))
    classes = len(centers) if centers.shape[1:] == (options.f_dim,) else 1
    criterion = loss_class(options.loss_type)(classes, options.f_dim)
    checkpoints.load_strictly(criterion, state["loss"], path)
    centers = criterion.centers.detach().numpy()
    said = {name: state[name] for name in ("step", "options", "lists", "categories")}
    said |= {"versions": state.get("versions", {}), "revision": state.get("revision", "")}
    said["machine"] = state.get("machine", {})
    said["left_out"] = tuple(state.get("left_out", ()))
    said["familiarity_limit"] = state.get("familiarity_limit")
    return Weights(path=path, network=network, centers=centers, **said)


def load_published(options: argparse.Namespace, path: Path, step: int) -> Weights:
    """A pair of the published program: what its two files do not say is as published, unless given."""
    state = published.read_state(path)
    found = recognise(state)
    if found is None:
        raise UserError(f"{path} is of no network known here: it has no last layer of any")
    said = {
        "network": found.network,
        "attention": found.attention,
        "se_reduction": found.closest_reduction(options.se_reduction),
        "f_dim": found.f_dim,
        "dase_layer4": found.dase_layer4,
    }
    settings.adopt(options, said, tuple(said), path)
    stored.check_network(options, state, path)
    network = settings.network_of(options)
    checkpoints.load_strictly(network, state, path)
    shape = (found.network, found.attention, said["se_reduction"], found.f_dim)
    log.info("published checkpoint %s: %s (%s, reduction %d, %d features)", path, *shape)
    centers = read_centers(options, path, step)
    if centers is not None:
        settings.resolve_loss(options)
    if "dataset" not in options.given:
        guess_dataset(options, None if centers is None else len(centers))
    settings.resolve_input(options)
    unsaid: dict[str, Any] = {"options": {}, "lists": "", "categories": [], "versions": {}, "revision": ""}
    unsaid |= {"machine": {}, "left_out": (), "familiarity_limit": None}
    return Weights(step, path, network, centers, **unsaid)


def read_centers(options: argparse.Namespace, path: Path, step: int) -> np.ndarray | None:
    """Centres of the loss file beside the network at `path`; None, with a message, if there is none.

    Sets --loss_type to that file's.
    """
    losses = checkpoint_files.saved_pairs(path.parent)[step].losses
    if "loss_type" in options.given:
        losses = {n: file for n, file in losses.items() if ALIASES.get(n, n) == options.loss_type}
    if not losses:
        wanted = options.loss_type if "loss_type" in options.given else "<loss_type>"
        lacking = checkpoint_files.pair_path(path.parent, wanted, step).name
        log.warning("warning: no %s beside %s: no class centres, so no hash codes", lacking, path.name)
        return None
    if len(losses) > 1:
        raise UserError(
            f"{path} has several losses beside it ({', '.join(sorted(losses))}); name one with --loss_type"
        )
    name, file = next(iter(losses.items()))
    if ALIASES.get(name, name) not in LOSSES:
        raise UserError(f"{file} is of a loss that is not known here; there are {', '.join(sorted(LOSSES))}")
    options.loss_type = ALIASES.get(name, name)
    centers = published.read_state(file).get("centers")
    if centers is None or centers.dim() != 2:
        raise UserError(f"{file} has no entry centers of shape (classes, f_dim)")
    if centers.shape[1] != options.f_dim:
        raise UserError(
            f"{file} has centres of {centers.shape[1]} features, the network beside it gives "
            f"{options.f_dim}: they are not of one training"
        )
    return centers.detach().float().numpy()


def guess_dataset(options: argparse.Namespace, classes: int | None) -> None:
    """Take the published data set that has so many classes; else keep the default, with a warning."""
    fitting = [name for name, facts in DATASETS.items() if facts.categories == classes]
    if classes is not None and len(fitting) == 1:
        options.dataset = fitting[0]
        log.info("data set %s: the one with %d classes", options.dataset, classes)
    else:
        log.warning(
            "warning: data set %s, the default: the checkpoint does not say which; give --dataset",
            options.dataset,
        )
