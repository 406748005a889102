"""One process at a time in one folder."""

import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from utils.errors import UserError
from utils.files import with_filename

log = logging.getLogger(__name__)

ACQUIRE_TIMEOUT = 0.05  # seconds: a holder that is just leaving removes its file, and that takes a second try
HOLDER_OFFSET = 1  # byte of the lock file from which it names its holder; Windows locks the one before


class Locked(UserError):
    """Another process is at work in the folder."""


@contextmanager
def folder_lock(folder: Path, name: str = ".lock") -> Iterator[None]:
    """Hold `folder` for this process; it is made if it is not there, and goes again if nothing was put in.

    Where several may work side by side, on things of their own, `name` says on which. Raises Busy, naming who
    holds it. The system lets go of it when the process ends, however it ends.
    """
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    path = folder / name
    try:
        lock = acquire(path)
        try:
            with with_filename(path), path.open("r+b") as file:
                file.truncate(HOLDER_OFFSET)
                file.seek(HOLDER_OFFSET)
                file.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
            yield
        finally:
            with suppress(PermissionError):  # Windows removes no open file
                path.unlink(missing_ok=True)  # still locked: who has it open sees that it is gone
            lock.release()
    finally:
        with suppress(OSError):
            for each in made:
                each.rmdir()


@contextmanager
def wait_for_folder_lock(folder: Path, name: str = ".lock") -> Iterator[None]:
    """As `folder_lock`, after waiting for whoever holds `folder`."""
    with ExitStack() as stack:
        holder = ""
        while True:
            try:
                stack.enter_context(folder_lock(folder, name))
                break
            except Locked as busy:
                if str(busy) != holder:
                    log.info("%s: waiting for it", busy)
                holder = str(busy)
                time.sleep(0.5)
        yield


def acquire(path: Path) -> FileLock:
    """Lock the file at `path`, which is made if it is not there. Raises Busy. Links are not followed."""
    lock = FileLock(path, timeout=ACQUIRE_TIMEOUT, poll_interval=ACQUIRE_TIMEOUT / 5, thread_local=False)
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
            return lock
        except FileNotFoundError:  # another holder removed the folder that it had made
            continue
        except Timeout:
            raise Locked(f"{path.parent} is in use by {read_holder(path)}") from None
        except OSError as error:
            error.filename = str(path)  # as it was given
            raise


def read_holder(path: Path) -> str:
    """Who holds the locked file at `path`."""
    with suppress(OSError), path.open("rb") as file:  # it may just have been removed
        file.seek(HOLDER_OFFSET)
        return file.read().decode(errors="replace").strip() or "another process"
    return "another process"
