"""Checkpoints as the published program names them: two plain state dicts per step (docs/method.md, Files).

`model-net-<step>.cpkt` is the network, `model-<loss_type>-<step>.cpkt` the class centres. The links
`...-latest.cpkt` that it makes are dead and are ignored.
"""

from pathlib import Path
from typing import Any

from torch import Tensor

from utils.checkpoints import load
from utils.errors import UserError
from utils.tensor_files import PREFIXES, is_state_dict


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict, without the prefixes that wrappers such as DataParallel put before all names.

    Raises UserError if the file is damaged or holds anything other than names and tensors.
    """
    content: dict[str, Any] = load(path)
    if not content or not is_state_dict(content):
        raise UserError(
            f"{path} is not a plain state dict of names and tensors, as published checkpoints are"
        )
    content = {name.removeprefix("module."): value for name, value in content.items()}
    while shared := [prefix for prefix in PREFIXES if all(name.startswith(prefix) for name in content)]:
        content = {name.removeprefix(shared[0]): value for name, value in content.items()}
    return content
