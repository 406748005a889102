"""--format=safetensors: weights and class centres in one file, which holds only tensors and strings."""

import json
import logging
from pathlib import Path

import torch
from torch import Tensor

from phases.export.card import PROGRAM, ExportedFile, model_card
from phases.export.source import load_data_if_available, load_source, make_metadata
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
    library = import_optional("safetensors.torch", "export", "--format=safetensors")
    versions = {"safetensors": import_optional("safetensors", "export", "--format=safetensors").__version__}
    source = load_source(config, format)
    config = source.config
    data = load_data_if_available(config, source)
    tensors = collect_tensors(source)
    metadata = make_metadata(config, source)
    if source.categories:
        metadata["categories"] = json.dumps(source.categories)  # in the order of the class centres
    folder = config.folder / "export" / format
    path = folder / NAME
    with folder_lock(folder):
        remove_stale_temporaries(folder)
        with atomic_write(path) as temporary:
            # not save_file, whose files only their owner can read
            temporary.write_bytes(library.save(tensors, metadata=metadata))
            check_equal(library.load_file(temporary), tensors, path)
        file = ExportedFile(
            NAME, path.stat().st_size, "weights and class centres", "read back, equal bit for bit"
        )
        write_text(folder / "model_card.md", model_card(source, format, data, [file], versions))
        write_text(folder / PROGRAM.name, PROGRAM.read_text(encoding="utf-8"))
    log.info("wrote %s, %.1f MB, %d entries: %s", path, file.size / 1e6, len(tensors), file.check)
    log.info("wrote %s and %s", folder / "model_card.md", folder / PROGRAM.name)
    return config


def collect_tensors(source: Checkpoint) -> dict[str, Tensor]:
    """The network's state dict with the prefix NETWORK, and the class centres as CENTERS if there are any."""
    tensors = {NETWORK + name: value.contiguous() for name, value in source.network.state_dict().items()}
    if source.centers is not None:
        tensors[CENTERS] = torch.from_numpy(source.centers)
    return tensors


def check_equal(read_back: dict[str, Tensor], tensors: dict[str, Tensor], path: Path) -> None:
    """Raise UserError unless both have the same bits under the same names."""
    changed = []
    for name in read_back.keys() | tensors.keys():
        if name not in read_back or name not in tensors or not is_bit_equal(read_back[name], tensors[name]):
            changed.append(name)
    if changed:
        raise UserError(
            f"{path} was not written: {len(changed)} entries were read back with other values, first "
            f"{min(changed)}; check the disk"
        )


def is_bit_equal(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape, dtype and bits, so that NaN equals NaN."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return torch.equal(one.reshape(-1).view(torch.uint8), other.reshape(-1).view(torch.uint8))
