"""What a checkpoint of this program says, checked before anything is made of it: it may be of any making.

`utils.tensor_files` sees to it that reading does no harm; here, that what was read is a training's.
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
}  # what may be given for a number
INHERITED_FIELDS = (  # of its config, those that a test or a continued training may take over
    *CONTINUED_FIELDS,
    "threads",
    "test_distance",
    "data_path",
    "anno_path",
)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The checkpoint at `path`. Raises UserError if it is not there, not whole, or no checkpoint of ours."""
    return validate(checkpoints.load(path, required=REQUIRED_ENTRIES), path)


def validate(state: dict[str, Any], path: Path) -> dict[str, Any]:
    """`state`, read from the file at `path`. Raises UserError if it is no checkpoint of ours."""
    for name in ("network", "loss"):
        if not is_state_dict(state[name]):
            raise UserError(f"{path}: its entry {name} is not names and tensors")
    for name in ("categories", "left_out"):
        if not all(isinstance(each, str) for each in state[name]):
            raise UserError(f"{path}: its entry {name} is not names alone")
    if not all(isinstance(each, str) for each in state["versions"].values()):
        raise UserError(f"{path}: its entry versions is not names and versions")
    state.setdefault("machine", {})
    machine = state["machine"]
    if not isinstance(machine, dict) or not all(isinstance(each, str | int) for each in machine.values()):
        raise UserError(f"{path}: its entry machine is not names and numbers")
    if not isinstance(state.get("familiarity_limit"), float | None):
        raise UserError(f"{path}: its entry familiarity_limit is not a number")
    state["options"] = {**DEFAULTS_OF_FIRST_CHECKPOINTS, **state["options"]}
    check_stored_options(state["options"], path)
    return state


def check_stored_options(stored: dict[str, Any], path: Path) -> None:
    """Raise UserError unless they could have been given on the command line, and can go into a record."""
    for name, value in stored.items():
        if not isinstance(name, str) or not is_plain(value):
            raise UserError(f"{path} says --{str(name)[:80]} is a {type(value).__name__}, which no option is")
    for name in (*CONTINUED_FIELDS, "lengthened"):
        if name not in stored:
            raise UserError(
                f"{path} has no --{name} among its options: it is not from this version of the program"
            )
    said = {name: stored[name] for name in INHERITED_FIELDS if name in stored}
    for name, value in said.items():  # a list may name a file of config, and that would be read
        if not isinstance(value, str | int | float | None):
            raise UserError(f"{path} says --{name}={str(value)[:80]!r}, which this option cannot be")
    lengthened = stored["lengthened"]
    if not isinstance(lengthened, list) or not all(type(each) is int for each in lengthened):
        raise UserError(f"{path} says --lengthened={str(lengthened)[:80]!r}, which are no numbers of steps")
    try:
        parsed = parse_values({"phase": "train", **said})
        for name, value in said.items():
            found = to_plain(getattr(parsed, name))
            if found != value and not (found is None and value is False):
                raise UserError(f"--{name}={str(value)[:80]!r}, which this option cannot be")
        check_folder_names(parsed)
    except UserError as error:
        raise UserError(f"{path} says of its training: {error}") from None


def is_plain(value: Any) -> bool:
    """Whether it is a number, a string, None, or a list of those."""
    return all(
        isinstance(each, str | int | float | None) for each in (value if isinstance(value, list) else [value])
    )


def check_network(config: Config, state: dict[str, Tensor], path: Path) -> None:
    """Raise UserError unless `state` fits the network of `options`, which need not have room in memory."""
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that nothing is copied
            checkpoints.load_strictly(build(config.network), state, path)
    except RuntimeError as error:
        raise UserError(f"{path} is of a network that cannot be: {str(error).splitlines()[0]}") from None


@contextmanager
def report_resume_errors(path: Path) -> Iterator[None]:
    """Turn what a training raises that is to continue from what is no state of one into a UserError."""
    try:
        yield
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        reason = str(error).splitlines()[0] if str(error) else ""
        raise UserError(
            f"{path} cannot be continued, it does not hold the state of a training ({type(error).__name__}: "
            f"{reason}); remove it, and the checkpoint before it is continued"
        ) from error


def check_training_state(state: dict[str, Any], optimizer: Optimizer, schedule: LRScheduler) -> None:
    """Raise ValueError, or what else comes up on the way, unless `state` has a state of each of these.

    What they would take over unseen, and fall over in the next step; and of the random numbers.
    """
    groups, found = optimizer.state_dict()["param_groups"], state["optimizer"]["param_groups"]
    for own, given in [*zip(groups, found, strict=True), (schedule.state_dict(), state["schedule"])]:
        for name, value in own.items():
            kind = ACCEPTED_TYPES.get(type(value))  # of the others, versions differ
            if kind and not isinstance(given[name], kind):
                raise ValueError(f"{name} is a {type(given[name]).__name__}")
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    for number, moments in state["optimizer"]["state"].items():
        sides = {"step": (), "exp_avg": parameters[number].shape, "exp_avg_sq": parameters[number].shape}
        if {name: value.shape for name, value in moments.items()} != sides:
            raise ValueError(f"the optimizer's moments of parameter {number} are not of its shape")
    for stream in state["random"]:
        if (stream["cpu"].dtype, stream["cpu"].shape) != (torch.uint8, torch.get_rng_state().shape):
            raise ValueError("the state of its random numbers is none")
        if not all(each.dtype == torch.uint8 for each in stream["cuda"]):
            raise ValueError("the state of its random numbers on a GPU is none")
