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
    """The path of the checkpoint of `step` in `folder`; -1 is the newest. Raises UserError without one."""
    return pick_step(
        folder, {number: checkpoint_path(folder, number) for number in saved_steps(folder)}, step
    )


def pick_step(folder: Path, available: dict[int, Path], step: int) -> Path:
    """The file of `step` among those `available` in `folder`; -1 is the newest.

    Raises UserError, which lists the available steps, if there is none.
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

    Raises OSError with the file's name if writing fails.
    """
    outer = sys.exc_info()[1]  # the error that the caller is handling, if any
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:
            # On a full disk or after Ctrl-C, PyTorch's writer raises "unexpected pos 704 vs 598". The real
            # error is the context of that one.
            cause = error.__context__
            if cause is None or cause is outer:
                raise
            raise cause from None


def keep_newest(folder: Path, count: int, best: int | None = None) -> None:
    """Remove all checkpoints in `folder` except the `count` (>= 1) newest and the one of step `best`."""
    for step in saved_steps(folder)[: -max(count, 1)]:
        if step != best:
            checkpoint_path(folder, step).unlink()


def load(path: Path, required: Mapping[str, type] | None = None) -> dict[str, Any]:
    """Read a dict of tensors onto the CPU with `utils.tensor_files.read`.

    Raises UserError if the file is missing or damaged, holds anything other than tensors and plain values, or
    if one of the `required` entries is missing or has another type.
    """
    state = tensor_files.read(path)
    if not isinstance(state, dict):
        raise UserError(f"{path} holds a {type(state).__name__}, expected a dict of tensors")
    required = required or {}
    missing = [name for name in required if name not in state]
    if missing:
        raise UserError(f"{path} has no entry {', '.join(missing)}: it is not a checkpoint of this program")
    for name, expected in required.items():
        if not isinstance(state[name], expected) or isinstance(state[name], bool):
            raise UserError(
                f"{path}: its entry {name} is of type {type(state[name]).__name__}, not {expected.__name__}: "
                "it is not a checkpoint of this program"
            )
    return state


def load_strictly(module: nn.Module, state: dict[str, Any], path: Path) -> None:
    """Load `state`, read from the file at `path`, into `module`. Every entry must be present and fit.

    Raises UserError for missing, unknown or misshapen entries, and for weights that are not finite.
    """
    bad = next((name for name, value in state.items() if not bool(value.isfinite().all())), None)
    if bad:
        raise UserError(f"{path} has weights that are not finite, first in {bad}: use another step or file")
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        reason = "; ".join(line.strip() for line in str(error).splitlines()[1:3])
        raise UserError(
            f"{path} does not fit a {type(module).__name__} with these options: {reason}"
        ) from None
