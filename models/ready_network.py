"""The trained network that comes with the program: models/ready/model.safetensors, with its card beside it.

A file of safetensors in half precision: the network's entries under the prefix `network.`, the class centres
as `centers`, and as metadata what a checkpoint says of itself, JSON where it is no text.
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
TEXTS = ("lists", "revision")  # of the metadata, those that are no JSON


def read_ready() -> dict[str, Any]:
    """The network as a checkpoint of a training holds it, in float32, without the state of an optimizer.

    Raises UserError if the file is missing or not whole.
    """
    tensors = tensor_files.read(FILE)
    try:
        said = tensor_files.safetensors_metadata(FILE)
        about = {name: text if name in TEXTS else json.loads(text) for name, text in said.items()}
        network = {
            name.removeprefix(NETWORK): in_float32(value)
            for name, value in tensors.items()
            if name.startswith(NETWORK)
        }
        return {
            **about,
            "network": network,
            "loss": {CENTERS: in_float32(tensors[CENTERS]), "step": tensors["step"]},
        }
    except (KeyError, ValueError) as error:
        raise UserError(f"{FILE} is not the file that comes with the program: {error}") from None


def in_float32(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value
