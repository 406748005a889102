"""Files that are either whole or not there."""

import codecs
import hashlib
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

PROJECT = Path(__file__).resolve().parents[1]  # the folder that holds main.py

TEMPORARY = re.compile(r"\.(.+)\.\d+\.tmp")  # what `temporary_path` names files: the name to be, the process


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it replaces `path` in one step.

    The content is flushed to the disk before it takes the name, so a crash leaves the old file or the new
    one. If the block raises, the temporary file is removed and `path` stays as it was.
    """
    with with_filename(path), temporary_path(path) as temporary:
        yield temporary
        flush_to_disk(temporary)
        temporary.replace(path)


def flush_to_disk(path: Path) -> None:
    """Have the content of the file at `path` on the disk, not on its way there."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


@contextmanager
def with_filename(path: Path) -> Iterator[None]:
    """Put the name of `path` into an OSError that has none: a full disk is found out while writing."""
    try:
        yield
    except OSError as error:
        if error.filename is None or error.filename.endswith(".tmp"):
            error.filename = str(path)
        raise


@contextmanager
def temporary_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which need not be there, and remove it in the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)  # in a folder from elsewhere a link of that name could lead anywhere
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def remove_stale_temporaries(folder: Path, *names: str) -> None:
    """Remove what `atomic_write` left in `folder` when its process was killed; nobody may be at work there.

    With `names`, of those files alone: in a folder of the user's, others may have a name of this form.
    """
    for path in folder.glob(".*.tmp"):
        match = TEMPORARY.fullmatch(path.name)
        if match and (not names or match[1] in names):
            log.info("removing %s, left by a process that was killed", path)
            path.unlink(missing_ok=True)


def hash_stats(digest: "hashlib._Hash", root: Path, names: Iterable[str]) -> None:
    """Add to `digest` what tells one state of the files `names` below `root` from another: size and time."""
    for name in names:
        size, time = size_and_mtime(root / name)
        digest.update(f"{name} {size} {time}\n".encode())


def size_and_mtime(path: Path) -> tuple[int, int]:
    """What tells one state of a file from another: size in bytes, and time of the last change in ns."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def preallocate(path: Path) -> None:
    """Take the room on the disk that the file at `path` says it has. Raises OSError if it is not there.

    A new file that is mapped into memory has holes; where the disk is full, filling one kills the process.
    """
    if hasattr(os, "posix_fallocate"):
        with path.open("rb+") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any, indent: int | None = 2) -> None:
    """Write `value` to `path` as indented JSON, atomically. NaN and infinity raise ValueError."""
    write_text(path, format_json(value, indent))


def write_json_files(values: dict[Path, Any]) -> None:
    """Write files that belong together. The first is the one without which the others count for nothing.

    A disk that is full is known before any of the old ones goes. A process that is killed in between leaves
    no first file, never one beside others that are not its own.
    """
    first = next(iter(values))
    with ExitStack() as stack:
        whole = {path: stack.enter_context(temporary_path(path)) for path in values}
        for path, temporary in whole.items():
            with with_filename(path):
                temporary.write_text(format_json(values[path]), encoding="utf-8")
                flush_to_disk(temporary)
        first.unlink(missing_ok=True)
        for path, temporary in reversed(whole.items()):
            with with_filename(path):
                temporary.replace(path)


def format_json(value: Any, indent: int | None = 2) -> str:
    return json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False) + "\n"


def decode_text(content: bytes) -> str:
    """The text of a file in UTF-8, with a byte order mark or without.

    Raises ValueError, saying what it is and what to do, if it is anything else.
    """
    if content.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        raise ValueError("it is UTF-32: save it as UTF-8")
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or is_utf16(content[:1000]):
        raise ValueError("it is UTF-16: save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"it is not UTF-8 (byte {error.start + 1} is 0x{content[error.start]:02x}): save it as UTF-8"
        ) from None


def is_utf16(start: bytes) -> bool:
    """Whether the start of a file without a byte order mark looks like UTF-16: half of its bytes are NUL."""
    return len(start) > 1 and max(start[::2].count(0), start[1::2].count(0)) > 0.4 * len(start)


def read_json(path: Path) -> Any:
    """What the file at `path` says. Raises ValueError if it is not JSON, has NaN in it, or is too deep."""

    def refused(word: str) -> None:
        raise ValueError(f"{word} is not JSON")

    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise ValueError("it is no regular file")
    text = decode_text(path.read_bytes())
    try:
        return json.loads(text, parse_constant=refused)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error}") from None
    except RecursionError:
        raise ValueError("its lists are too deep") from None
