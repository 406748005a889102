"""Checkpoints: one file per step, written atomically, read without running code."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from utils import tensor_files
from utils.checkpoint_files import checkpoint_path, saved_steps
from utils.errors import UserError
from utils.files import atomic_write


def find(folder: Path, step: int = -1) -> Path:
    """The checkpoint of `step` in `folder`, the newest for -1. Raises UserError if it is not there."""
    return pick(folder, {each: checkpoint_path(folder, each) for each in saved_steps(folder)}, step)


def pick(folder: Path, available: dict[int, Path], step: int) -> Path:
    """The file of `step` among those `available` in `folder`, the newest for -1.

    Raises UserError if it is not there, naming the steps that are.
    """
    if not available:
        raise UserError(
            f"no checkpoint in {folder.absolute()}; train first with --phase=train, or check --save_path"
        )
    if step == -1:
        step = max(available)
    if step not in available:
        listed = ", ".join(map(str, sorted(available)))
        raise UserError(f"no checkpoint for step {step} in {folder}; available: {listed}")
    return available[step]


def save(path: Path, state: dict[str, Any]) -> None:
    """Write `state` (tensors, numbers, strings, and dicts and lists of them) to `path`, atomically.

    Raises OSError, with the file's name, where the disk does not take it.
    """
    handled = sys.exc_info()[1]  # what this is called for, if anything
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:
            # of a full disk, or of Ctrl-C meanwhile, PyTorch's writer says "unexpected pos 704 vs 598"; what
            # was raised while the file was written is behind that
            behind = error.__context__
            raise (error if behind is handled or behind is None else behind) from None


def keep_newest(folder: Path, count: int, best: int | None = None) -> None:
    """Remove all checkpoints in `folder` but the `count` newest (1 at least) and the one of step `best`."""
    for step in saved_steps(folder)[: -max(count, 1)]:
        if step != best:
            checkpoint_path(folder, step).unlink()


def load(path: Path, required: Mapping[str, type] | None = None) -> dict[str, Any]:
    """Read a file of tensors onto the CPU, as `utils.tensor_files` does.

    Raises UserError if the file is missing or not whole, holds anything but plain tensors and values, or
    lacks one of the `required` entries, or has it of another type.
    """
    state = tensor_files.read(path)
    if not isinstance(state, dict):
        raise UserError(f"{path} holds a {type(state).__name__}, expected a dict of tensors")
    required = required or {}
    lacking = [name for name in required if name not in state]
    if lacking:
        raise UserError(f"{path} has no entry {', '.join(lacking)}: it is no checkpoint of this program")
    for name, expected in required.items():
        if not isinstance(state[name], expected) or isinstance(state[name], bool):
            raise UserError(
                f"{path} has an entry {name} that is no {expected.__name__} but a "
                f"{type(state[name]).__name__}: it is no checkpoint of this program"
            )
    return state


def load_strictly(module: nn.Module, state: dict[str, Any], path: Path) -> None:
    """Load `state`, from the file at `path`, into `module`; every entry must be there and fit.

    Raises UserError with the first entry that does not, or has numbers that are not finite.
    """
    bad = next((name for name, value in state.items() if not bool(value.isfinite().all())), None)
    if bad:
        raise UserError(f"{path} has weights that are not finite, first in {bad}: take another step or file")
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        reason = "; ".join(line.strip() for line in str(error).splitlines()[1:3])
        raise UserError(f"{path} does not fit a {type(module).__name__} of these options: {reason}") from None
