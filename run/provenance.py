"""What every record says about its origin: config, seed, versions, commit of the program and machine."""

import platform
from pathlib import PurePath
from typing import Any

import numpy as np
import PIL
import torch
import torchvision

from run.config import Config
from utils.hardware import get_machine_info
from utils.revision import revision


def provenance(config: Config) -> dict[str, Any]:
    """ "options", "seed", "versions", "revision" and "machine": for every result and checkpoint."""
    return build_provenance(config.as_dict(), config.seed, config.machine.device)


def build_provenance(options: dict[str, Any], seed: int, device: str = "cpu") -> dict[str, Any]:
    """As `provenance`, for a phase without a run."""
    return {
        "options": options,
        "seed": seed,
        "versions": versions(),
        "revision": revision(),
        "machine": get_machine_info(device),
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


def strip_folders(options: dict[str, Any]) -> dict[str, Any]:
    """`options` with paths reduced to their last part, so that exports do not reveal local folders."""
    return {name: strip_folder(value) for name, value in options.items()}


def strip_folder(value: Any) -> Any:
    if isinstance(value, list):
        return [strip_folder(entry) for entry in value]
    return PurePath(value).name if isinstance(value, str) else value
