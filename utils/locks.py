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

ACQUIRE_TIMEOUT = 0.05  # seconds: a holder that is just releasing removes its file, which needs a second try
HOLDER_OFFSET = 1  # the lock file names its holder from this byte on; Windows locks the byte before


class Locked(UserError):
    """Another process holds the lock of the folder."""


@contextmanager
def folder_lock(folder: Path, name: str = ".lock") -> Iterator[None]:
    """Lock `folder` for this process; it is created if needed, and removed again if it stays empty.

    A folder may have several independent locks, told apart by `name`. Raises Locked, naming the holder, if
    another process has the lock. The system releases it when the process ends, however it ends.
    """
    created = [parent for parent in (folder, *folder.parents) if not parent.exists()]
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
            with suppress(PermissionError):  # Windows cannot remove an open file
                path.unlink(
                    missing_ok=True
                )  # while it is locked, so that a process waiting for it sees that it is gone
            lock.release()
    finally:
        with suppress(OSError):
            for parent in created:
                parent.rmdir()


@contextmanager
def wait_for_folder_lock(folder: Path, name: str = ".lock") -> Iterator[None]:
    """As `folder_lock`, but wait while another process has the lock."""
    with ExitStack() as stack:
        holder = ""
        while True:
            try:
                stack.enter_context(folder_lock(folder, name))
                break
            except Locked as error:
                if str(error) != holder:
                    log.info("%s: waiting for it", error)
                holder = str(error)
                time.sleep(0.5)
        yield


def acquire(path: Path) -> FileLock:
    """Lock the file at `path`, which is created if needed. Does not follow links. Raises Locked."""
    lock = FileLock(path, timeout=ACQUIRE_TIMEOUT, poll_interval=ACQUIRE_TIMEOUT / 5, thread_local=False)
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
            return lock
        except FileNotFoundError:  # another holder removed the folder that it had created
            continue
        except Timeout:
            raise Locked(f"{path.parent} is in use by {read_holder(path)}") from None
        except OSError as error:
            error.filename = str(path)  # the path that the caller knows
            raise


def read_holder(path: Path) -> str:
    """The holder of the lock file at `path`, as text."""
    with suppress(OSError), path.open("rb") as file:  # the file may just have been removed
        file.seek(HOLDER_OFFSET)
        return file.read().decode(errors="replace").strip() or "another process"
    return "another process"
