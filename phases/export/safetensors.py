"""--format=safetensors: weights and class centres in one file that holds nothing but tensors and strings."""

import json
import logging
from pathlib import Path

import torch
from torch import Tensor

from phases.export.card import PROGRAM, File, model_card
from phases.export.source import about, data_at_hand, load
from run.checkpoint import Checkpoint
from run.config import Config
from utils.errors import UserError
from utils.files import atomic_write, remove_stale_temporaries, write_text
from utils.locks import folder_lock
from utils.optional import import_optional

log = logging.getLogger(__name__)

NAME = "model.safetensors"
NETWORK, CENTERS = "network.", "centers"  # prefix of the network's entries; the class centres, (C, f_dim)


def run(config: Config, format: str) -> Config:
    """Write the weights and their model card below logs/<save_path>/export/safetensors.

    Returns the config of the checkpoint.
    """
    safetensors = import_optional("safetensors.torch", "export", "--format=safetensors")
    versions = {"safetensors": import_optional("safetensors", "export", "--format=safetensors").__version__}
    source = load(config, format)
    config = source.config
    data = data_at_hand(config, source)
    tensors = entries(source)
    folder = config.folder / "export" / format
    path = folder / NAME
    with folder_lock(folder):
        remove_stale_temporaries(folder)
        with atomic_write(path) as temporary:
            # not save_file: nobody else could read what it writes
            temporary.write_bytes(safetensors.save(tensors, metadata=metadata(config, source)))
            compare(safetensors.load_file(temporary), tensors, path)
        file = File(NAME, path.stat().st_size, "weights and class centres", "read back, equal bit for bit")
        write_text(folder / "model_card.md", model_card(source, format, data, [file], versions))
        write_text(folder / PROGRAM.name, PROGRAM.read_text(encoding="utf-8"))
    log.info("wrote %s, %.1f MB, %d entries: %s", path, file.size / 1e6, len(tensors), file.checked)
    log.info("wrote %s and %s", folder / "model_card.md", folder / PROGRAM.name)
    return config


def entries(source: Checkpoint) -> dict[str, Tensor]:
    """The network's state dict under the prefix NETWORK, and the centres, if there are any, as CENTERS."""
    tensors = {NETWORK + name: value.contiguous() for name, value in source.network.state_dict().items()}
    return tensors if source.centers is None else tensors | {CENTERS: torch.from_numpy(source.centers)}


def metadata(config: Config, source: Checkpoint) -> dict[str, str]:
    """What is needed to build the network, and the categories in the order of the centres, as JSON."""
    said = about(config, source)
    return said | {"categories": json.dumps(source.categories)} if source.categories else said


def compare(found: dict[str, Tensor], expected: dict[str, Tensor], path: Path) -> None:
    """Raise UserError unless both hold the same bits under the same names."""
    changed = [
        name
        for name in found.keys() | expected.keys()
        if name not in found or name not in expected or not same_bits(found[name], expected[name])
    ]
    if changed:
        raise UserError(
            f"{path} was not written: {len(changed)} entries came back otherwise, first {min(changed)}; "
            "check the disk"
        )


def same_bits(one: Tensor, other: Tensor) -> bool:
    """NaN and all."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return torch.equal(*(each.reshape(-1).view(torch.uint8) for each in (one, other)))
