"""Checks of the options before PyTorch is imported, so that mistakes are reported at once."""

import argparse
import math
import os
from pathlib import Path, PurePosixPath

from losses import ALIASES, loss_facts
from models import READY
from options.declarations import CHECKPOINT_PHASES, SEARCH_PHASES
from utils.checkpoint_files import saved_pairs, saved_steps
from utils.errors import UserError
from utils.names import expand_home
from utils.runs import LOGS, describe_missing

DISTRIBUTED_PHASES = ("train", "test")  # those that can run in several processes


def check_options(options: argparse.Namespace) -> None:
    """Raise UserError for options that contradict one another and for missing files.

    A search without --save_path uses the ready network, unless a run with the default name exists.
    """
    if (
        options.phase in SEARCH_PHASES
        and "save_path" not in options.given
        and not has_checkpoints(options.save_path)
    ):
        options.save_path = READY
    options.loss_type = ALIASES.get(options.loss_type, options.loss_type)
    check_folder_names(options)
    check_combinations(options)
    is_new = options.phase in ("train", "reproduce") and not has_checkpoints(options.save_path)
    if is_new or "loss_type" in options.given:
        is_annealed = "annealing_step" in options.given
        check_loss(options.loss_type, options.margin, options.scale, is_annealed)
    if (
        options.phase in CHECKPOINT_PHASES and options.phase != "report"
    ):  # report also writes tables, without a run
        check_run(options)
    check_files(options)


def check_folder_names(options: argparse.Namespace) -> None:
    """Raise UserError if --dataset or --save_path leads out of its parent folder."""
    if options.dataset in ("", ".", "..") or set(options.dataset) & set("/\\\0"):
        raise UserError(f"--dataset {options.dataset!r} is not the name of a folder below --data_path")
    for path in (options.save_path, *options.compared):
        parts = PurePosixPath(path).parts
        if not parts or parts[0] == "/" or ".." in parts:
            raise UserError(f"--save_path {path!r} is not a folder below logs/")


def check_combinations(options: argparse.Namespace) -> None:
    """Raise UserError for options that contradict one another in this phase."""
    is_ready = options.save_path == READY and not has_checkpoints(READY)
    if options.phase in SEARCH_PHASES and is_ready and options.gallery == "dataset":
        raise UserError(
            "the network that comes with the program searches your own photos: name their folder with "
            "--gallery=FOLDER; to search those of a data set, name a run with --save_path"
        )
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and options.phase not in DISTRIBUTED_PHASES:
        raise UserError(
            f"--phase={options.phase} runs in one process; torchrun is for {' and '.join(DISTRIBUTED_PHASES)}"
        )
    if options.compared and (options.phase != "report" or options.table):
        raise UserError(
            f"--save_path takes one folder for --phase={options.phase}; only report takes several"
        )
    if options.evaluate and "index" in options.given:
        raise UserError("--evaluate compares all indices: leave out --index")
    if options.phase == "search" and not options.query:
        raise UserError("--phase=search needs --query: image files or folders of drawings")


def check_files(options: argparse.Namespace) -> None:
    """Raise UserError for files and folders among the options that do not exist."""
    for query in list_given_paths("query", options):
        if not expand_home(query).exists():
            raise UserError(f"no file or folder {query}; check --query")
    for gallery in list_given_paths("gallery", options):
        if not expand_home(gallery).is_dir():
            raise UserError(f"no folder {gallery}; check its path in --gallery")
    for weights in list_given_paths("backbone_weights", options):
        if not weights.is_file():
            raise UserError(f"--backbone_weights: no such file: {weights}")
    for classes in list_given_paths("class_list", options):
        if not classes.exists():  # it may be a pipe
            raise UserError(f"cannot read --class_list {classes}: No such file or directory; check its path")
    if options.output and expand_home(options.output).exists() and not expand_home(options.output).is_dir():
        raise UserError(f"--output {options.output} is a file; a folder is expected")
    draws_demo = options.phase == "prepare" and options.dataset == "demo"
    is_new = options.phase == "train" and not has_checkpoints(options.save_path)
    folder = options.data_path / options.dataset
    if ((options.phase == "prepare" and not draws_demo) or is_new) and not folder.is_dir():
        raise UserError(
            f"no folder {folder}; put the data set there, or name it with --dataset and --data_path"
        )


def list_given_paths(name: str, options: argparse.Namespace) -> list[Path]:
    """The paths given for the option `name`; empty for keywords such as "auto", which are no paths."""
    value = getattr(options, name)
    keywords = {"gallery": ("dataset",), "backbone_weights": ("auto", "imagenet", "none", READY)}
    if name not in options.given or value in keywords.get(name, ()):
        return []
    return [Path(path) for path in (value if isinstance(value, list) else [value])]


def has_checkpoints(save_path: str) -> bool:
    """Whether the run has a folder of checkpoints."""
    return (LOGS / save_path / "model").is_dir()


def check_run(options: argparse.Namespace) -> None:
    """Raise UserError, which lists the existing runs, if the run has no checkpoint."""
    if options.save_path == READY and not has_checkpoints(READY):
        return
    model = LOGS / options.save_path / "model"
    if not (saved_steps(model) or saved_pairs(model)):
        raise UserError(describe_missing(options.save_path))


def check_loss(loss_type: str, margin: float | None, scale: float | None, is_annealed: bool) -> None:
    """Raise UserError for a margin, scale or annealing that the loss does not have, or a margin out of range.

    `is_annealed`: whether --annealing_step was given.
    """
    loss = loss_facts(loss_type)
    given = {"margin": margin is not None, "scale": scale is not None, "annealing_step": is_annealed}
    has_margin, has_scale = loss.default_margin is not None, loss.default_scale is not None
    for name, is_used_by_loss in (
        ("margin", has_margin),
        ("scale", has_scale),
        ("annealing_step", has_margin),
    ):
        if given[name] and not is_used_by_loss:
            raise UserError(f"--{name} has no meaning for --loss_type={loss_type}; leave it out")
    low, high = loss.margin_range
    if margin is not None and not low <= margin <= high:
        allowed = f"{low:g} to {high:g}" if math.isfinite(high) else f"{low:g} or more"
        raise UserError(f"--margin {margin:g} is out of range for {loss_type}: {allowed}")
