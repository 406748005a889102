"""One process at a time in one folder."""

import contextlib
import fcntl
import logging
import os
import socket
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO

from utils.errors import UserError
from utils.files import naming

log = logging.getLogger(__name__)

open_locks: weakref.WeakSet[IO[str]] = weakref.WeakSet()  # of this process


class Busy(UserError):
    """Another process is at work in the folder."""


@contextmanager
def exclusive(folder: Path, name: str = ".lock") -> Iterator[None]:
    """Hold `folder` for this process; it is made if it is not there, and goes again if nothing was put in.

    Where several may work side by side, on things of their own, `name` says on which. Raises Busy, naming who
    holds it. The system lets go of it when the process ends, however it ends.
    """
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    path = folder / name
    try:
        with lock(path) as file:
            try:
                with naming(path):
                    os.write(file.fileno(), f"process {os.getpid()} on {socket.gethostname()}\n".encode())
                yield
            finally:
                path.unlink(missing_ok=True)  # still locked: who has it open sees that it is another file now
                fcntl.flock(file, fcntl.LOCK_UN)  # a forked child may hold the file open longer
    finally:
        with contextlib.suppress(OSError):
            for each in made:
                each.rmdir()


@contextmanager
def in_turn(folder: Path, name: str = ".lock") -> Iterator[None]:
    """As `exclusive`, after waiting for whoever holds `folder`."""
    with contextlib.ExitStack() as stack:
        holder = ""
        while True:
            try:
                stack.enter_context(exclusive(folder, name))
                break
            except Busy as busy:
                if str(busy) != holder:
                    log.info("%s: waiting for it", busy)
                holder = str(busy)
                time.sleep(0.5)
        yield


@cache
def close_in_children() -> None:
    """An orphan that has the file of a lock open would hold it for its dead parent."""

    def close() -> None:
        for file in open_locks:
            file.close()

    os.register_at_fork(after_in_child=close)


def lock(path: Path) -> IO[str]:
    """Open `path`, empty and locked, the file that has this name then. Raises Busy."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        # a link of that name, in a folder from elsewhere, would lead to a file that is emptied
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        try:
            file = os.fdopen(os.open(path, flags, 0o666), "a+", encoding="utf-8")
        except FileNotFoundError:  # another holder removed the folder that it had made
            continue
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
                open_locks.add(file)
                close_in_children()
                return file
        file.close()  # its holder removed it meanwhile
