"""What can be said about options before anything heavy is imported."""

import argparse
import os
from pathlib import Path, PurePosixPath

from losses import ALIASES
from models import READY
from utils.errors import UserError

DISTRIBUTED = ("train", "test")  # the phases that can share their work among several processes

PHASES_OF = {
    "threads": ("train", "test", "search", "index", "serve", "report", "reproduce"),
    "amp": ("train", "reproduce", "report"),
    "accumulate": ("train", "reproduce", "report"),
    "sync_bn": ("train",),
    "compile": ("train", "reproduce", "report"),
    "gradient_checkpointing": ("train", "reproduce", "report"),
    "cache_images": ("train", "test", "reproduce", "report"),
    "pretrained_model": ("test", "export", "index", "search", "serve", "report"),
    "format": ("export",),
    "model_save_step": ("train", "reproduce", "report"),
    "keep": ("train", "reproduce", "report"),
    "log_step": ("train", "reproduce", "report"),
    "all_definitions": ("train", "test", "reproduce", "report"),
    "margin_condition": ("train", "test", "reproduce", "report"),
    "eval_memory": ("train", "test", "reproduce", "report", "index"),
    "query": ("search",),
    "output": ("search",),
    "gallery": ("search", "index", "serve"),
    "top": ("search", "serve"),
    "index": ("search", "index", "serve"),
    "clean_query": ("search", "serve"),
    "evaluate": ("index",),
    "host": ("serve",),
    "port": ("serve",),
    "open": ("serve",),
    "upload_mib": ("serve",),
    "upload_megapixels": ("serve",),
    "test_per_category": ("prepare",),
    "protocol": ("prepare",),
    "class_list": ("prepare",),
    "force": ("prepare",),
    "skip_unreadable": ("prepare", "train", "test", "index", "reproduce", "report"),
    "table": ("reproduce", "report"),
    "seeds": ("reproduce", "report"),
    "lr_of": ("reproduce", "report"),
    "dry_run": ("reproduce",),
}


# What to do instead of an option that the phase has no use for, where that is not clear
INSTEAD = {
    ("train", "pretrained_model"): "a training continues from its newest checkpoint. To continue from an "
    "earlier one, copy that to model/ of another --save_path; to begin with its weights alone, pass it as "
    "--backbone_weights",
}


SEARCHING = ("search", "serve", "index")


def has_checkpoints(save_path: str) -> bool:
    """Whether something was trained there, or put there to be tested."""
    return Path("logs", save_path, "model").is_dir()


def check_options(options: argparse.Namespace) -> None:
    """Raise UserError for names that lead out of their folders and for options the phase has no use for.

    Who searches and names no run gets the network that comes with this program, unless a run without a name
    has been trained.
    """
    searching = options.phase in SEARCHING
    if searching and "save_path" not in options.given and not has_checkpoints(options.save_path):
        options.save_path = READY
    is_ready = options.save_path == READY and not has_checkpoints(READY)
    if searching and is_ready and options.gallery == "dataset":
        raise UserError(
            "the network that comes with this program searches your own photos: name their folder with "
            "--gallery=FOLDER; to search those of a data set, name a run with --save_path"
        )
    for name, phases in PHASES_OF.items():
        if name in options.given and options.phase not in phases:
            raise UserError(
                f"--{name} has no meaning for --phase={options.phase}, only for {' and '.join(phases)}"
                + "".join(f"; {text}" for key, text in INSTEAD.items() if key == (options.phase, name))
            )
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and options.phase not in DISTRIBUTED:
        raise UserError(
            f"--phase={options.phase} runs in one process; torchrun is for {' and '.join(DISTRIBUTED)}"
        )
    options.loss_type = ALIASES.get(options.loss_type, options.loss_type)
    options.deterministic = bool(options.deterministic)
    if options.dataset in ("", ".", "..") or set(options.dataset) & set("/\\\0"):
        raise UserError(f"--dataset {options.dataset!r} is not the name of a folder below --data_path")
    for path in (options.save_path, *options.compared):
        parts = PurePosixPath(path).parts
        if not parts or parts[0] == "/" or ".." in parts:
            raise UserError(f"--save_path {path!r} is not a folder below logs/")
    if options.compared and (options.phase != "report" or options.table):
        raise UserError(
            f"--save_path takes one folder for --phase={options.phase}; several are compared by report alone"
        )
    if options.evaluate and "index" in options.given:
        raise UserError("--evaluate compares all indices: leave out --index")
    if options.output and options.output.expanduser().exists() and not options.output.expanduser().is_dir():
        raise UserError(f"--output {options.output} is a file; a folder is expected")
    if options.phase == "search" and not options.query:
        raise UserError("--phase=search needs --query: image files or folders of drawings")
