"""Names of checkpoint files, this program's and the published one's; without PyTorch."""

import re
from dataclasses import dataclass, field
from pathlib import Path

NAME = re.compile(r"checkpoint-(0|[1-9]\d*)\.pt")


def checkpoint_path(folder: Path, step: int) -> Path:
    """Where the checkpoint of `step` lies in `folder`."""
    return folder / f"checkpoint-{step}.pt"


def saved_steps(folder: Path) -> list[int]:
    """The steps with a checkpoint in `folder`, ascending; empty if the folder is not there."""
    if not folder.is_dir():
        return []
    return sorted(int(match[1]) for path in folder.iterdir() if (match := NAME.fullmatch(path.name)))


PAIR_NAME = re.compile(r"model-(.+)-(\d+)\.cpkt")
NETWORK = "net"


@dataclass
class Pair:
    """The files of one step; a complete one has a network and one loss."""

    network: Path | None = None
    losses: dict[str, Path] = field(default_factory=dict)  # by loss type


def pair_path(folder: Path, what: str, step: int) -> Path:
    """Where the file of `what`, "net" or a loss type, and `step` lies in `folder`."""
    return folder / f"model-{what}-{step}.cpkt"


def saved_pairs(folder: Path) -> dict[int, Pair]:
    """The pairs in `folder` by step, ascending; empty if the folder is not there."""
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
