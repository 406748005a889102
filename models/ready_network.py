"""The trained network that comes with the program: models/ready/model.safetensors, with its card beside it.

A safetensors file in half precision: the network's entries with the prefix `network.`, the class centres as
`centers`. Its metadata holds the other entries of a checkpoint, as JSON unless they are in TEXT_ENTRIES.
"""

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from models import READY
from utils import tensor_files
from utils.errors import UserError

FILE = Path(__file__).parent / READY / "model.safetensors"
NETWORK, CENTERS = "network.", "centers"
TEXT_ENTRIES = ("lists", "revision")  # of the metadata: plain text, not JSON


def read_ready() -> dict[str, Any]:
    """The network in the form of a training checkpoint, in float32, without optimizer state.

    Raises UserError if the file is missing or damaged.
    """
    tensors = tensor_files.read(FILE)
    try:
        metadata = tensor_files.safetensors_metadata(FILE)
        entries = {
            name: text if name in TEXT_ENTRIES else json.loads(text) for name, text in metadata.items()
        }
        network = {
            name.removeprefix(NETWORK): to_float32(value)
            for name, value in tensors.items()
            if name.startswith(NETWORK)
        }
        return {
            **entries,
            "network": network,
            "loss": {CENTERS: to_float32(tensors[CENTERS]), "step": tensors["step"]},
        }
    except (KeyError, ValueError) as error:
        raise UserError(f"{FILE} is not the file that comes with the program: {error}") from None


def to_float32(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value
