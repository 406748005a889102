"""File names of checkpoints, this program's and the published program's. Does not import PyTorch."""

import re
from dataclasses import dataclass, field
from pathlib import Path

NAME = re.compile(r"checkpoint-(0|[1-9]\d*)\.pt")


def checkpoint_path(folder: Path, step: int) -> Path:
    """The path of the checkpoint of `step` in `folder`."""
    return folder / f"checkpoint-{step}.pt"


def saved_steps(folder: Path) -> list[int]:
    """The steps with a checkpoint in `folder`, ascending; empty if there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(int(match[1]) for path in folder.iterdir() if (match := NAME.fullmatch(path.name)))


PAIR_NAME = re.compile(r"model-(.+)-(\d+)\.cpkt")
NETWORK = "net"


@dataclass
class Pair:
    """The published program's files of one step. A complete pair has a network and one loss."""

    network: Path | None = None
    losses: dict[str, Path] = field(default_factory=dict)  # by loss type


def pair_path(folder: Path, what: str, step: int) -> Path:
    """The path of one file of a pair: `what` is "net" or a loss type."""
    return folder / f"model-{what}-{step}.cpkt"


def saved_pairs(folder: Path) -> dict[int, Pair]:
    """The pairs in `folder` by step, ascending; empty if there is no such folder."""
    pairs: dict[int, Pair] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        match = PAIR_NAME.fullmatch(path.name)
        if match and path.is_file():
            pair = pairs.setdefault(int(match[2]), Pair())
            if match[1] == NETWORK:
                pair.network = path
            else:
                pair.losses[match[1]] = path
    return dict(sorted(pairs.items()))
