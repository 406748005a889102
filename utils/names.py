"""Names of files and folders: Unicode normalisation, names that are not UTF-8, and home folders."""

import os
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utils.errors import UserError


def normalize_unicode(name: str) -> str:
    """`name` in NFC, where an accent is part of its letter; file systems may use NFD instead."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def is_utf8(name: str) -> bool:
    """Whether a file name, read from the disk or from JSON, is valid Unicode."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def escape_undecodable(name: str) -> str:
    """A file name in which bytes that are not UTF-8 are escaped."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def expand_home(path: Path) -> Path:
    """`path` with ~ or ~name at its start replaced by that home folder, unless there is no such user."""
    return Path(os.path.expanduser(path))  # noqa: PTH111, pathlib raises RuntimeError for unknown users


def check_utf8_names(options: Mapping[str, Any]) -> None:
    """Raise UserError if an option is not UTF-8, or --output is in the home folder of an unknown user.

    Options are written into lists, records, checkpoints and plots, some of them only after hours.
    """
    for option, value in options.items():
        for item in value if isinstance(value, list | tuple) else [value]:
            if isinstance(item, str | Path) and not is_utf8(str(expand_home(Path(item)))):
                raise UserError(
                    f"--{option} {escape_undecodable(str(item))} is not UTF-8, so it could not be written "
                    "into records and plots: rename the file or folder"
                )
    output = options.get("output")
    if output is not None and str(expand_home(output)).startswith("~"):
        raise UserError(f"--output {output}: there is no user {output.parts[0][1:]} with a home folder")
