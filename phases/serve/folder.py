"""The temporary folder of the page: uploads, drawings and small copies of photos, and no other files."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from utils.locks import Locked, folder_lock

PREFIX = "drawings-"  # of the folder's name in the system's folder for temporary files
MAX_BYTES, MAX_FILES = 256 << 20, 4000


@contextmanager
def page_folder() -> Iterator[Path]:
    """Yield a new folder and remove it afterwards. Folders of processes that were killed are removed first.

    A lock beside the files tells which are in use. Nothing is opened in folders of other users.
    """
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(Locked, OSError):
            status = folder.lstat()
            if S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and (folder / ".lock").exists():
                with folder_lock(folder):
                    shutil.rmtree(folder, ignore_errors=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=PREFIX))).resolve()
        stack.enter_context(folder_lock(folder))
        (folder / "files").mkdir()
        yield folder / "files"


def is_inside(path: str, folder: Path) -> bool:
    """Whether `path` is absolute and leads to something in `folder`, after links and dots."""
    try:
        return Path(path).is_absolute() and Path(path).resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):
        return False


def trim_folder(folder: Path, spare: frozenset[Path]) -> None:
    """Remove the least recently used files of `folder` beyond MAX_BYTES or MAX_FILES, but none of `spare`."""
    files = []
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            status = path.stat()
            if S_ISREG(status.st_mode) and path not in spare:
                files.append((status.st_mtime_ns, status.st_size, path))
    total = 0
    for count, (_, size, path) in enumerate(sorted(files, reverse=True), start=1):
        total += size
        if total > MAX_BYTES or count > MAX_FILES:
            path.unlink(missing_ok=True)
            if path.parent != folder:
                with suppress(OSError):  # it is not empty
                    path.parent.rmdir()
