"""--format=torchscript: a plain network as TorchScript, which PyTorch reads without this program."""

import io
import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

SUFFIX = ".pt"
ABOUT = "about.json"


def versions() -> dict[str, str]:
    """No packages but PyTorch are at work."""
    return {}


def write(network: nn.Module, example: Tensor, path: Path, about: dict[str, str]) -> None:
    """Write `network`, of one input like `example` (B, 3, S, S) but with any B, to `path`.

    It is traced and frozen: its weights are constants, and BatchNorm is merged into convolutions. `about`
    goes into an extra file of the archive, about.json.
    """
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the image size is fixed, and TorchScript on its way out
        frozen = torch.jit.freeze(torch.jit.trace(network, example, check_trace=False))
        whole = io.BytesIO()
        torch.jit.save(frozen, whole, _extra_files={ABOUT: json.dumps(about, indent=2)})
    forget_origin(whole, path)


def read(path: Path) -> Callable[[Tensor], Tensor]:
    """The network in the file at `path`: images (B, 3, S, S) -> features (B, f_dim)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.load(str(path), map_location="cpu")


def forget_origin(source: io.BytesIO, target: Path) -> None:
    """Copy an archive but for its notes for debugging: paths of this machine, of no use elsewhere."""
    with zipfile.ZipFile(source) as whole, zipfile.ZipFile(target, "w") as kept:
        for entry in whole.infolist():
            if not entry.filename.endswith(".debug_pkl"):
                kept.writestr(entry, whole.read(entry))
