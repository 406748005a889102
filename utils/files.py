"""Atomic file writing, and reading of text and JSON."""

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

TEMPORARY = re.compile(r"\.(.+)\.\d+\.tmp")  # of `temporary_path`: the final name and the process id


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it replaces `path` in one step.

    The content is flushed to the disk before the rename, so a crash leaves the old file or the new one. If
    the block raises, the temporary file is removed and `path` is unchanged.
    """
    with with_filename(path), temporary_path(path) as temporary:
        yield temporary
        flush_to_disk(temporary)
        temporary.replace(path)


def flush_to_disk(path: Path) -> None:
    """Force the content of the file at `path` onto the disk (fsync)."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


@contextmanager
def with_filename(path: Path) -> Iterator[None]:
    """Add the name of `path` to an OSError without one, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.filename is None or error.filename.endswith(".tmp"):
            error.filename = str(path)
        raise


@contextmanager
def temporary_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` for a new file, and remove that file at the end if it is left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)  # in a folder from elsewhere, it could be a link to any file
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def remove_stale_temporaries(folder: Path, *names: str) -> None:
    """Remove temporary files that killed processes left in `folder`; no other process may be writing there.

    With `names`, only those of these files: in a user's folder, other files may have such names.
    """
    for path in folder.glob(".*.tmp"):
        match = TEMPORARY.fullmatch(path.name)
        if match and (not names or match[1] in names):
            log.info("removing %s, left by a process that was killed", path)
            path.unlink(missing_ok=True)


def hash_stats(digest: "hashlib._Hash", root: Path, names: Iterable[str]) -> None:
    """Add size and modification time of the files `names` below `root` to `digest`."""
    for name in names:
        size, time = size_and_mtime(root / name)
        digest.update(f"{name} {size} {time}\n".encode())


def size_and_mtime(path: Path) -> tuple[int, int]:
    """Size in bytes and modification time in nanoseconds, which change when the file does."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def preallocate(path: Path) -> None:
    """Allocate disk space for the whole file at `path`. Raises OSError if the disk is too full.

    A new memory-mapped file is sparse, and writing to it when the disk is full kills the process.
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
    """Write files that belong together; the others are only valid with the first.

    All are written under temporary names first, so a full disk leaves the old ones unchanged. If the process
    is killed between the renames, the first file is missing, never beside others that do not belong to it.
    """
    first = next(iter(values))
    with ExitStack() as stack:
        temporaries = {path: stack.enter_context(temporary_path(path)) for path in values}
        for path, temporary in temporaries.items():
            with with_filename(path):
                temporary.write_text(format_json(values[path]), encoding="utf-8")
                flush_to_disk(temporary)
        first.unlink(missing_ok=True)
        for path, temporary in reversed(temporaries.items()):
            with with_filename(path):
                temporary.replace(path)


def format_json(value: Any, indent: int | None = 2) -> str:
    return json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False) + "\n"


def decode_text(content: bytes) -> str:
    """Decode UTF-8, with or without a byte order mark.

    Raises ValueError, which names the encoding and the remedy, for anything else.
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
    """Whether text without a byte order mark looks like UTF-16: about half of its bytes are NUL."""
    return len(start) > 1 and max(start[::2].count(0), start[1::2].count(0)) > 0.4 * len(start)


def read_json(path: Path) -> Any:
    """Read the JSON file at `path`. Raises ValueError if it is not JSON, has NaN or is nested too deeply."""

    def reject_constant(word: str) -> None:
        raise ValueError(f"{word} is not JSON")

    if path.exists() and not path.is_file():  # opening a pipe would block
        raise ValueError("it is not a regular file")
    text = decode_text(path.read_bytes())
    try:
        return json.loads(text, parse_constant=reject_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
