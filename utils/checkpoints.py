"""Checkpoints: one file per step, written atomically, read without running code."""

import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from utils.errors import UserError
from utils.files import replacing

NAME = re.compile(r"checkpoint-(\d+)\.pt")


def path_for(folder: Path, step: int) -> Path:
    """Where the checkpoint of `step` lies in `folder`."""
    return folder / f"checkpoint-{step}.pt"


def saved_steps(folder: Path) -> list[int]:
    """The steps with a checkpoint in `folder`, ascending; empty if the folder is not there."""
    if not folder.is_dir():
        return []
    return sorted(int(match[1]) for path in folder.iterdir() if (match := NAME.fullmatch(path.name)))


def find(folder: Path, step: int = -1) -> Path:
    """The checkpoint of `step` in `folder`, the newest for -1. Raises UserError if it is not there."""
    return pick(folder, {each: path_for(folder, each) for each in saved_steps(folder)}, step)


def pick(folder: Path, available: dict[int, Path], step: int) -> Path:
    """The file of `step` among those `available` in `folder`, the newest for -1.

    Raises UserError if it is not there, naming the steps that are.
    """
    if not available:
        raise UserError(f"no checkpoint in {folder}; train first with --phase=train, or check --save_path")
    if step == -1:
        step = max(available)
    if step not in available:
        listed = ", ".join(map(str, sorted(available)))
        raise UserError(f"no checkpoint for step {step} in {folder}; available: {listed}")
    return available[step]


def save(path: Path, state: dict[str, Any]) -> None:
    """Write `state` (tensors, numbers, strings, and dicts and lists of them) to `path`, atomically."""
    with replacing(path) as temporary:
        torch.save(state, temporary)


def load(path: Path, required: tuple[str, ...] = ()) -> dict[str, Any]:
    """Read a file of tensors onto the CPU, refusing pickles that would run code.

    Raises UserError if the file is missing, truncated, holds anything but plain tensors and values, or lacks
    one of the `required` entries.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"no such file: {path}") from None
    except (RuntimeError, pickle.UnpicklingError, EOFError, KeyError, OSError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"cannot read {path}: {reason}; the file is damaged or not a plain file of tensors, "
            "remove it or pass another"
        ) from error
    if not isinstance(state, dict):
        raise UserError(f"{path} holds a {type(state).__name__}, expected a dict of tensors")
    lacking = [name for name in required if name not in state]
    if lacking:
        raise UserError(f"{path} has no entry {', '.join(lacking)}: it is no checkpoint of this program")
    return state


def load_strictly(module: nn.Module, state: dict[str, Any], path: Path) -> None:
    """Load `state`, from the file at `path`, into `module`; every entry must be there and fit.

    Raises UserError with the first entry that does not.
    """
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        reason = "; ".join(line.strip() for line in str(error).splitlines()[1:3])
        raise UserError(f"{path} does not fit a {type(module).__name__} of these options: {reason}") from None
