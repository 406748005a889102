"""What a result was made with, in every record: config, seed, versions, the program's revision, machine."""

import os
import platform
import subprocess
from functools import cache
from pathlib import PurePath
from typing import Any

import numpy as np
import PIL
import torch
import torchvision

from run.config import Config
from utils.files import PROJECT
from utils.hardware import machine

PATIENCE = 10  # seconds that git gets for an answer
UNKNOWN = "unknown"


def provenance(config: Config) -> dict[str, Any]:
    """ "options", "seed", "versions", "revision" and "machine": for every result and checkpoint."""
    return made_with(config.as_dict(), config.seed, config.machine.device)


def made_with(options: dict[str, Any], seed: int, device: str = "cpu") -> dict[str, Any]:
    """As `provenance`, of a phase that has no run."""
    return {
        "options": options,
        "seed": seed,
        "versions": versions(),
        "revision": revision(),
        "machine": machine(device),
    }


def versions() -> dict[str, str]:
    """The versions that a number depends on."""
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "torchvision": str(torchvision.__version__),
        "numpy": np.__version__,
        "pillow": PIL.__version__,
    }


@cache
def revision() -> str:
    """The git commit of this program, with "+changes" if its files are not those of the commit.

    "unknown" where the program is no git checkout of its own (a copy inside another one is not of that one's
    commit), or where git is not there or gives no answer. Asked once per process.
    """
    where = git("rev-parse", "--show-toplevel", "HEAD")
    changed = git("status", "--porcelain", "--untracked-files=no")
    if where is None or changed is None:
        return UNKNOWN
    top, commit = where.splitlines()
    if not PROJECT.samefile(top):
        return UNKNOWN
    return commit + ("+changes" if changed else "")


def git(*arguments: str) -> str | None:
    """What git says of the program's folder, None if it says nothing: a record is not worth an error."""
    # variables of a surrounding git, in a hook for one, would lead it to another repository
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        return subprocess.run(
            ["git", "--no-optional-locks", *arguments],
            cwd=PROJECT,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None


def without_folders(options: dict[str, Any]) -> dict[str, Any]:
    """Stored `options`, of paths the name alone: what is handed on does not tell where it was made."""
    return {name: name_alone(value) for name, value in options.items()}


def name_alone(value: Any) -> Any:
    if isinstance(value, list):
        return [name_alone(each) for each in value]
    return PurePath(value).name if isinstance(value, str) else value
