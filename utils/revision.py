"""The git commit of this program."""

import os
import subprocess
from functools import cache

from utils.files import PROJECT

GIT_TIMEOUT = 10  # seconds
UNKNOWN = "unknown"


@cache
def revision() -> str:
    """The git commit of this program, followed by "+changes" if tracked files were changed.

    "unknown" if the program is not a git checkout of its own (a copy inside another repository does not have
    that one's commit), or if git is missing or fails. Cached for the process.
    """
    where = git("rev-parse", "--show-toplevel", "HEAD")
    changed = git("status", "--porcelain", "--untracked-files=no")
    if where is None or changed is None:
        return UNKNOWN
    top, commit = where.splitlines()
    if not PROJECT.samefile(top):
        return UNKNOWN
    return commit + ("+changes" if changed else "")


def git(*arguments: str) -> str | None:
    """The output of git in the program's folder; None if git fails, because no record is worth an error."""
    # GIT_* variables, which are set inside a git hook, would point to another repository
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        return subprocess.run(
            ["git", "--no-optional-locks", *arguments],
            cwd=PROJECT,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
