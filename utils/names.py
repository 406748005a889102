"""Names of files and folders: spellings of Unicode, what is no Unicode, and home folders."""

import os
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utils.errors import UserError


def normalize_unicode(name: str) -> str:
    """A name in one spelling: in Unicode an accent is part of its letter (NFC) or stands after it (NFD)."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def is_utf8(name: str) -> bool:
    """Whether a file's name was read from the disk, or from JSON, as proper Unicode."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def escape_undecodable(name: str) -> str:
    """A file's name as it is, but what is not UTF-8 in it escaped."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def expand_home(path: Path) -> Path:
    """`path` with ~ or ~name, at its start, replaced by that home folder; as it is without such a user."""
    return Path(os.path.expanduser(path))  # noqa: PTH111, pathlib raises RuntimeError without such a user


def check_names(options: Mapping[str, Any]) -> None:
    """Raise UserError if an option is not UTF-8, or --output is in the home folder of nobody.

    Options are written into lists, records, checkpoints and pictures, some of them after hours.
    """
    for option, value in options.items():
        for each in value if isinstance(value, list | tuple) else [value]:
            if isinstance(each, str | Path) and not is_utf8(str(expand_home(Path(each)))):
                raise UserError(
                    f"--{option} {escape_undecodable(str(each))} is not UTF-8, so it could not be written "
                    "into records and pictures: rename the file or folder"
                )
    output = options.get("output")
    if output is not None and str(expand_home(output)).startswith("~"):
        raise UserError(f"--output {output}: there is no user {output.parts[0][1:]} with a home folder")
