"""--format=torchscript: write a plain network as TorchScript, which PyTorch reads without this program."""

import io
import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

SUFFIX = ".pt"
METADATA = "about.json"  # a file in the archive


def versions() -> dict[str, str]:
    """The versions of the packages besides PyTorch: there are none."""
    return {}


def write(network: nn.Module, example: Tensor, path: Path, metadata: dict[str, str]) -> None:
    """Write `network` to `path`. Its input has the shape of `example` (B, 3, S, S), with any B.

    It is traced and frozen: its weights are constants, and BatchNorm is merged into convolutions. `metadata`
    goes into the file about.json of the archive.
    """
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the image size is fixed, and that TorchScript is deprecated
        frozen = torch.jit.freeze(torch.jit.trace(network, example, check_trace=False))
        archive = io.BytesIO()
        torch.jit.save(frozen, archive, _extra_files={METADATA: json.dumps(metadata, indent=2)})
    copy_without_debug_info(archive, path)


def read(path: Path) -> Callable[[Tensor], Tensor]:
    """Load the network in the file at `path`: images (B, 3, S, S) -> features (B, f_dim)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.load(str(path), map_location="cpu")


def copy_without_debug_info(source: io.BytesIO, target: Path) -> None:
    """Copy an archive without its debug files, which have paths of this machine."""
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(target, "w") as copy:
        for entry in archive.infolist():
            if not entry.filename.endswith(".debug_pkl"):
                copy.writestr(entry, archive.read(entry))
