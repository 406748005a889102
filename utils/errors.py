"""The one error type for mistakes that a user can mend, and what the machine itself refuses."""

import errno

# what a disk or its owner refuses: no fault of the program, and nothing that a traceback would tell
REMEDIES = {
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room within your quota",
    errno.EFBIG: "files there may not become this large",
    errno.EROFS: "it can only be read there; take another folder",
    errno.EACCES: "see whose file or folder it is",
    errno.EPERM: "see whose file or folder it is",
    errno.EIO: "the disk fails",
    errno.ENOTDIR: "a file is where a folder should be",
    errno.EISDIR: "a folder is where a file should be",
    errno.EEXIST: "a file is where a folder should be",
    errno.ENAMETOOLONG: "take a shorter name",
    errno.ELOOP: "links lead round in a circle, or one is where a file should be",
    errno.ENOLCK: "the file system there has no locks; take another folder",
    errno.EOPNOTSUPP: "the file system there cannot do this; take another folder",
    errno.ENOMEM: "make memory free",
    errno.ENFILE: "the machine has too many files open",
    errno.EMFILE: "allow more open files (ulimit -n), or take a smaller --num_workers",
}


# what may be otherwise a moment later: it says nothing of the file at hand
TRANSIENT_ERRORS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class UserError(Exception):
    """A mistake in options, files or data: the message says what, where and what to do.

    `main.py` prints the message as one line and exits with status 2; every other exception is a fault of
    the program and keeps its traceback.
    """


class Diverged(UserError):
    """A training whose loss or features are not finite any more."""


def one_line(text: str) -> str:
    """`text` with names of files as they are safe to show: without line breaks and codes for the terminal."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text
    )


def is_transient(error: BaseException | None) -> bool:
    """Whether the machine was short of something, whatever was at hand."""
    return isinstance(error, OSError) and error.errno in TRANSIENT_ERRORS


def describe_os_error(error: OSError) -> str | None:
    """One line for what a disk or its owner refused, with the file if it is known; None for other errors."""
    if error.errno not in REMEDIES:
        return None
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror}; {REMEDIES[error.errno]}"
