"""Checkpoints as the published program names them: two plain state dicts per step (docs/method.md, Files).

`model-net-<step>.cpkt` is the network, `model-<loss_type>-<step>.cpkt` the class centres. Its links
`...-latest.cpkt` point nowhere and are passed over.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from utils.checkpoints import load
from utils.errors import UserError
from utils.tensor_files import PREFIXES, is_state_dict

NAME = re.compile(r"model-(.+)-(\d+)\.cpkt")
NETWORK = "net"


@dataclass
class Pair:
    """The files of one step; a complete one has a network and one loss."""

    network: Path | None = None
    losses: dict[str, Path] = field(default_factory=dict)  # by loss type


def path_for(folder: Path, what: str, step: int) -> Path:
    """Where the file of `what`, "net" or a loss type, and `step` lies in `folder`."""
    return folder / f"model-{what}-{step}.cpkt"


def saved_pairs(folder: Path) -> dict[int, Pair]:
    """The pairs in `folder` by step, ascending; empty if the folder is not there."""
    pairs: dict[int, Pair] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        match = NAME.fullmatch(path.name)
        if match and path.is_file():
            pair = pairs.setdefault(int(match[2]), Pair())
            if match[1] == NETWORK:
                pair.network = path
            else:
                pair.losses[match[1]] = path
    return dict(sorted(pairs.items()))


def read_state(path: Path) -> dict[str, Tensor]:
    """A state dict without what wrappers, of data-parallel training say, put before all names.

    Raises UserError if the file is damaged or holds anything else than names and tensors.
    """
    content: dict[str, Any] = load(path)
    if not content or not is_state_dict(content):
        raise UserError(f"{path} is no plain state dict, names and tensors, as published checkpoints are")
    content = {name.removeprefix("module."): value for name, value in content.items()}
    while shared := [each for each in PREFIXES if all(name.startswith(each) for name in content)]:
        content = {name.removeprefix(shared[0]): value for name, value in content.items()}
    return content
