"""UserError for mistakes that a user can fix, and one-line messages for errors of the operating system."""

import errno

# What to do about errors of the file system, which are no bugs: a traceback would not help
REMEDIES = {
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room within your quota",
    errno.EFBIG: "the file is too large for that file system or for your limit (ulimit -f)",
    errno.EROFS: "the file system is read-only; use another folder",
    errno.EACCES: "check the owner and permissions of the file or folder",
    errno.EPERM: "check the owner and permissions of the file or folder",
    errno.EIO: "the disk is failing",
    errno.ENOTDIR: "a file is where a folder should be",
    errno.EISDIR: "a folder is where a file should be",
    errno.EEXIST: "a file is where a folder should be",
    errno.ENAMETOOLONG: "use a shorter name",
    errno.ELOOP: "links form a circle, or a link is where a file should be",
    errno.ENOLCK: "the file system there has no locks; use another folder",
    errno.EOPNOTSUPP: "the file system there cannot do this; use another folder",
    errno.ENOMEM: "free some memory",
    errno.ENFILE: "the machine has too many files open",
    errno.EMFILE: "allow more open files (ulimit -n), or use a smaller --num_workers",
}


# Shortages of the machine, which may be over a moment later: the file itself may be fine
TRANSIENT_ERRORS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class UserError(Exception):
    """A mistake in options, files or data: the message says what, where and what to do.

    `main.py` prints the message as one line and exits with status 2. Every other exception is a bug and
    keeps its traceback.
    """


class Diverged(UserError):
    """The loss or the features of a training are no longer finite."""


def one_line(text: str) -> str:
    """`text` with line breaks and terminal control codes escaped: file names may contain them."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in text
    )


def is_transient(error: BaseException | None) -> bool:
    """Whether the machine was short of memory or of open files, which says nothing about the file."""
    return isinstance(error, OSError) and error.errno in TRANSIENT_ERRORS


def describe_os_error(error: OSError) -> str | None:
    """The message for an error in REMEDIES, with the file if it is known; None for other errors."""
    if error.errno not in REMEDIES:
        return None
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror}; {REMEDIES[error.errno]}"
