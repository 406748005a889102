"""Checkpoints as the published program names them: two plain state dicts per step (docs/method.md, Files).

`model-net-<step>.cpkt` is the network, `model-<loss_type>-<step>.cpkt` the class centres. Its links
`...-latest.cpkt` point nowhere and are passed over.
"""

from pathlib import Path
from typing import Any

from torch import Tensor

from utils.checkpoints import load
from utils.errors import UserError
from utils.tensor_files import PREFIXES, is_state_dict


def read_state(path: Path) -> dict[str, Tensor]:
    """A state dict without what wrappers, of data-parallel training say, put before all names.

    Raises UserError if the file is damaged or holds anything else than names and tensors.
    """
    content: dict[str, Any] = load(path)
    if not content or not is_state_dict(content):
        raise UserError(f"{path} is no plain state dict, names and tensors, as published checkpoints are")
    content = {name.removeprefix("module."): value for name, value in content.items()}
    while shared := [each for each in PREFIXES if all(name.startswith(each) for name in content)]:
        content = {name.removeprefix(shared[0]): value for name, value in content.items()}
    return content
