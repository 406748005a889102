"""One process at a time in one folder."""

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from utils.errors import UserError


class Busy(UserError):
    """Another process is at work in the folder."""


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process; it is made if it is not there, and goes again if nothing was put in.

    Raises Busy, naming who holds it. The system lets go of it when the process ends, however it ends.
    """
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    path = folder / ".lock"
    with lock(path) as file:
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)  # still locked: who has it open sees that it is another file now
            fcntl.flock(file, fcntl.LOCK_UN)  # a forked child may hold the file open longer
            with contextlib.suppress(OSError):
                for each in made:
                    each.rmdir()


def lock(path: Path) -> IO[str]:
    """Open `path`, empty and locked, the file that has this name then. Raises Busy."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            file.close()
            raise Busy(f"{path.parent} is in use by {holder}") from None
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                file.truncate(0)
                return file
        file.close()  # its holder removed it meanwhile
