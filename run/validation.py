"""Validates a checkpoint before it is used: the file may come from anywhere.

`utils.tensor_files` reads files safely. This module checks that the content is the state of a training.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from options.check import check_folder_names
from options.parser import parse_values
from run.config import CONTINUED_FIELDS, Config, to_plain
from run.network import build
from utils import checkpoints
from utils.errors import UserError
from utils.tensor_files import is_state_dict

# Options that version 0.1.0 gained after its first checkpoints, with the values that those were trained with
DEFAULTS_OF_FIRST_CHECKPOINTS = {
    "dase_layer4": False,
    "center_norm": 1.0,
    "augmentation": "published",
    "lengthened": [],
}
REQUIRED_ENTRIES = {
    "step": int,
    "network": dict,
    "loss": dict,
    "options": dict,
    "lists": str,
    "left_out": list,
    "categories": list,
    "versions": dict,
    "revision": str,
}
ACCEPTED_TYPES: dict[type, Any] = {
    float: float | int,
    int: int,
    tuple: tuple,
}  # stored type -> types accepted for it
INHERITED_FIELDS = (  # options that a test or a continued training may take from the checkpoint
    *CONTINUED_FIELDS,
    "threads",
    "test_distance",
    "data_path",
    "anno_path",
)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read the checkpoint at `path`. Raises UserError if it is missing, damaged or not of this program."""
    return validate(checkpoints.load(path, required=REQUIRED_ENTRIES), path)


def validate(state: dict[str, Any], path: Path) -> dict[str, Any]:
    """Check the `state` in the file at `path`, and add defaults for entries that it may lack.

    Raises UserError if it is not a checkpoint of this program.
    """
    for name in ("network", "loss"):
        if not is_state_dict(state[name]):
            raise UserError(f"{path}: its entry {name} is not names and tensors")
    for name in ("categories", "left_out"):
        if not all(isinstance(entry, str) for entry in state[name]):
            raise UserError(f"{path}: its entry {name} is not a list of names")
    if not all(isinstance(version, str) for version in state["versions"].values()):
        raise UserError(f"{path}: its entry versions is not names and versions")
    state.setdefault("machine", {})
    machine = state["machine"]
    if not isinstance(machine, dict) or not all(isinstance(value, str | int) for value in machine.values()):
        raise UserError(f"{path}: its entry machine is not names and numbers")
    if not isinstance(state.get("familiarity_limit"), float | None):
        raise UserError(f"{path}: its entry familiarity_limit is not a number")
    state["options"] = {**DEFAULTS_OF_FIRST_CHECKPOINTS, **state["options"]}
    check_stored_options(state["options"], path)
    return state


def check_stored_options(stored: dict[str, Any], path: Path) -> None:
    """Raise UserError unless the options are valid on the command line and can be written to a record."""
    for name, value in stored.items():
        if not isinstance(name, str) or not is_plain(value):
            raise UserError(f"{path} says --{str(name)[:80]} is a {type(value).__name__}, which no option is")
    for name in (*CONTINUED_FIELDS, "lengthened"):
        if name not in stored:
            raise UserError(
                f"{path} has no --{name} among its options: it is not from this version of the program"
            )
    inherited = {name: stored[name] for name in INHERITED_FIELDS if name in stored}
    for name, value in inherited.items():  # a list could contain @FILE, which would be read
        if not isinstance(value, str | int | float | None):
            raise UserError(f"{path} says --{name}={str(value)[:80]!r}, which this option cannot be")
    lengthened = stored["lengthened"]
    if not isinstance(lengthened, list) or not all(type(steps) is int for steps in lengthened):
        raise UserError(f"{path} says --lengthened={str(lengthened)[:80]!r}, which are not numbers of steps")
    try:
        parsed = parse_values({"phase": "train", **inherited})
        for name, value in inherited.items():
            parsed_value = to_plain(getattr(parsed, name))
            if parsed_value != value and not (parsed_value is None and value is False):
                raise UserError(f"--{name}={str(value)[:80]!r}, which this option cannot be")
        check_folder_names(parsed)
    except UserError as error:
        raise UserError(f"{path} has an invalid option: {error}") from None


def is_plain(value: Any) -> bool:
    """Whether `value` is a number, a string, None, or a list of those."""
    items = value if isinstance(value, list) else [value]
    return all(isinstance(item, str | int | float | None) for item in items)


def check_network(config: Config, state: dict[str, Tensor], path: Path) -> None:
    """Raise UserError unless `state` fits the network of `config`. Needs no memory for the network."""
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about weights that are not copied
            checkpoints.load_strictly(build(config.network), state, path)
    except RuntimeError as error:
        raise UserError(f"{path} is of an impossible network: {str(error).splitlines()[0]}") from None


@contextmanager
def report_resume_errors(path: Path) -> Iterator[None]:
    """Turn errors from restoring an invalid training state into a UserError."""
    try:
        yield
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        reason = str(error).splitlines()[0] if str(error) else ""
        raise UserError(
            f"{path} cannot be continued: it does not hold the state of a training ({type(error).__name__}: "
            f"{reason}); remove it to continue from the checkpoint before it"
        ) from error


def check_training_state(state: dict[str, Any], optimizer: Optimizer, schedule: LRScheduler) -> None:
    """Raise ValueError, KeyError or TypeError unless `state` fits the optimizer and schedule.

    They would accept an invalid state and fail in the next step. Also checks the random states.
    """
    groups, stored_groups = optimizer.state_dict()["param_groups"], state["optimizer"]["param_groups"]
    pairs = [*zip(groups, stored_groups, strict=True), (schedule.state_dict(), state["schedule"])]
    for own, stored in pairs:
        for name, value in own.items():
            kind = ACCEPTED_TYPES.get(type(value))  # other types differ between versions of PyTorch
            if kind and not isinstance(stored[name], kind):
                raise ValueError(f"{name} is a {type(stored[name]).__name__}")
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, moments in state["optimizer"]["state"].items():
        shapes = {"step": (), "exp_avg": parameters[number].shape, "exp_avg_sq": parameters[number].shape}
        if {name: value.shape for name, value in moments.items()} != shapes:
            raise ValueError(f"the optimizer's moments of parameter {number} do not have its shape")
    for stream in state["random"]:
        if (stream["cpu"].dtype, stream["cpu"].shape) != (torch.uint8, torch.get_rng_state().shape):
            raise ValueError("its random state is invalid")
        if not all(gpu_state.dtype == torch.uint8 for gpu_state in stream["cuda"]):
            raise ValueError("its random state of a GPU is invalid")
