"""Write the ready network that comes with the program: python -m phases.export.ready RUN [DISTANCE]

models/ready/model.safetensors is made from the newest checkpoint of logs/RUN; its model card is written by
hand. DISTANCE (euclidean or angular) is the default distance of searches; without it, that of the run.
"""

import json
import logging
import sys
from typing import Any

import torch
from torch import Tensor

from models import ready_network
from options.check import check_options
from options.parser import parse_values
from run import validation
from run.config import Config, config_from_options
from run.provenance import strip_folders
from utils import checkpoints
from utils.errors import UserError
from utils.files import atomic_write
from utils.optional import import_optional

log = logging.getLogger(__name__)

LARGEST = 10_000_000  # bytes, as the file is part of the repository


def write(config: Config) -> None:
    """Write the newest checkpoint of the run in half precision, for `models.ready_network` to read.

    Raises UserError if a number is too large for half precision or the file is too large.
    """
    safetensors = import_optional("safetensors.torch", "export", "the ready network")
    path = checkpoints.find(config.folder / "model", config.test.pretrained_model)
    state = validation.read_checkpoint(path)
    tensors = {ready_network.NETWORK + name: to_half(name, value) for name, value in state["network"].items()}
    tensors[ready_network.CENTERS] = to_half("centers", state["loss"]["centers"])
    tensors["step"] = state["loss"]["step"]
    names = ("step", "lists", "categories", "versions", "revision", "familiarity_limit", "left_out")
    entries = {name: state[name] for name in names if name in state}
    entries["options"] = strip_folders(state["options"])
    if "test_distance" in config.given:
        entries["options"]["test_distance"] = config.test.test_distance
    metadata = {
        name: value if name in ready_network.TEXT_ENTRIES else json.dumps(value)
        for name, value in entries.items()
    }
    content = safetensors.save(tensors, metadata=metadata)
    if len(content) > LARGEST:
        raise UserError(f"the file would have {len(content) / 1e6:.1f} MB, more than {LARGEST / 1e6:.0f}")
    ready_network.FILE.parent.mkdir(exist_ok=True)
    with atomic_write(ready_network.FILE) as temporary:
        temporary.write_bytes(content)
    log.info("wrote %s: step %d of %s, %.2f MB", ready_network.FILE, state["step"], path, len(content) / 1e6)


def to_half(name: str, value: Tensor) -> Tensor:
    """`value` as float16 if it has floats. Raises UserError if a number is too large for it."""
    if not value.is_floating_point():
        return value.contiguous()
    half = value.to(torch.float16).contiguous()
    if not bool(half.isfinite().all()):
        raise UserError(f"{name} has numbers that are too large for half precision")
    return half


def main(arguments: list[str]) -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    values: dict[str, Any] = {"phase": "export", "save_path": arguments[0]}
    if len(arguments) > 1:
        values["test_distance"] = arguments[1]
    try:
        options = parse_values(values)
        check_options(options)
        write(config_from_options(options))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
