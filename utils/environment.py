"""What the environment must not be, told in one line before anything is done."""

import os
from pathlib import Path

from utils.errors import UserError

TORCHRUN_VARIABLES = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


def check_environment() -> None:
    """Raise UserError if the current folder was removed, or if the variables of torchrun are not its own."""
    try:
        Path.cwd()
    except FileNotFoundError:
        raise UserError("the current folder was removed: change to one that is there") from None
    said = os.environ.get("WORLD_SIZE")
    if said is None:
        return
    count = read_integer("WORLD_SIZE")
    if count < 1:
        raise UserError(f"WORLD_SIZE={said!r} in the environment is no number of processes; {REMEDY}")
    if count == 1:
        return
    lacking = [name for name in TORCHRUN_VARIABLES if not os.environ.get(name)]
    if lacking:
        raise UserError(f"WORLD_SIZE={said} in the environment is without {', '.join(lacking)}; {REMEDY}")
    if not 0 < read_integer("MASTER_PORT") < 65536:
        raise UserError(f"MASTER_PORT={os.environ['MASTER_PORT']!r} in the environment is no port; {REMEDY}")
    for name in ("RANK", "LOCAL_RANK"):
        if not 0 <= read_integer(name) < count:
            raise UserError(
                f"{name}={os.environ[name]!r} in the environment is not the number of one of {count} "
                f"processes, counted from 0; {REMEDY}"
            )


REMEDY = "start several processes with torchrun, which sets it, or unset WORLD_SIZE for a single one"


def read_integer(name: str) -> int:
    """The integer that a variable of the environment holds, -1 for anything else."""
    try:
        return int(os.environ[name])
    except ValueError:
        return -1
