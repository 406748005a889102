"""The git commit of this program."""

import os
import subprocess
from functools import cache

from utils.files import PROJECT

GIT_TIMEOUT = 10  # seconds that git gets for an answer
UNKNOWN = "unknown"


@cache
def revision() -> str:
    """The git commit of this program, with "+changes" if its files are not those of the commit.

    "unknown" where the program is no git checkout of its own (a copy inside another one is not of that one's
    commit), or where git is not there or gives no answer. Asked once per process.
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
    """What git says of the program's folder, None if it says nothing: a record is not worth an error."""
    # variables of a surrounding git, in a hook for one, would lead it to another repository
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
