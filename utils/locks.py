"""One process at a time in one folder."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from utils.errors import UserError


class Busy(UserError):
    """Another process is at work in the folder."""


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold `folder` (made if it is not there) for this process. Raises Busy, naming who holds it.

    The system lets go of it when the process ends, however it ends; the file `.lock` stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise Busy(f"{folder} is in use by {file.read().strip() or 'another process'}") from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield
