"""Checks of the current folder and of torchrun's environment variables, before anything else is done."""

import os
from pathlib import Path

from utils.errors import UserError

TORCHRUN_VARIABLES = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


def check_environment() -> None:
    """Raise UserError if the current folder was removed or torchrun's variables do not fit together."""
    try:
        Path.cwd()
    except FileNotFoundError:
        raise UserError("the current folder was removed: change to one that exists") from None
    text = os.environ.get("WORLD_SIZE")
    if text is None:
        return
    count = read_integer("WORLD_SIZE")
    if count < 1:
        raise UserError(f"WORLD_SIZE={text!r} in the environment is not a number of processes; {REMEDY}")
    if count == 1:
        return
    missing = [name for name in TORCHRUN_VARIABLES if not os.environ.get(name)]
    if missing:
        raise UserError(f"WORLD_SIZE={text} is in the environment, but not {', '.join(missing)}; {REMEDY}")
    if not 0 < read_integer("MASTER_PORT") < 65536:
        raise UserError(
            f"MASTER_PORT={os.environ['MASTER_PORT']!r} in the environment is not a port; {REMEDY}"
        )
    for name in ("RANK", "LOCAL_RANK"):
        if not 0 <= read_integer(name) < count:
            raise UserError(
                f"{name}={os.environ[name]!r} in the environment is not a rank of {count} processes "
                f"(0 to {count - 1}); {REMEDY}"
            )


REMEDY = "start several processes with torchrun, which sets it, or unset WORLD_SIZE for a single process"


def read_integer(name: str) -> int:
    """The integer in an environment variable, -1 for anything else."""
    try:
        return int(os.environ[name])
    except ValueError:
        return -1
