"""Packages that only some uses of the program need."""

from importlib import import_module
from types import ModuleType

from utils.errors import UserError


def import_optional(package: str, part: str, purpose: str) -> ModuleType:
    """Import `package`, which requirements/`part`.txt lists, for `purpose`, an option or a phase.

    Raises UserError, which says what to install, if it is not installed.
    """
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        raise UserError(
            f"{purpose} needs {error.name}, which is not installed: pip install -r requirements/{part}.txt"
        ) from None
