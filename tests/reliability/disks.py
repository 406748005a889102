"""Disks that take no more: files that may not become larger, and mounts of a process's own."""

import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.victims import Victim, Zygote

SPACE = ("unshare", "--map-root-user", "--mount", "sh", "-c")


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """No file of this process can become larger: a write fails where it would, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@cache
def mounting() -> bool:
    """Whether a process here may mount a disk of its own; namespaces alone are not enough."""
    if not shutil.which("unshare"):
        return False
    with tempfile.TemporaryDirectory() as folder:
        probe = [*SPACE, mount("size=64k", folder)]
        return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def mount(options: str, folder: str, *, filled: bool = False) -> str:
    """A shell command that mounts an empty disk, or a full one, on `folder`."""
    command = f"mount -t tmpfs -o {options} none {folder}"
    # to its end, not a number of bytes: pages, in which a disk in memory counts, differ in size
    return f"{command} && {{ cat /dev/zero > {folder}/taken 2> /dev/null || true; }}" if filled else command


def main_after(zygote: Zygote, mounting_command: str, *arguments: str, **how: Any) -> Victim:
    """`main.py` in the current folder after a shell command whose mounts go with it.

    Skips the test where a process cannot have any.
    """
    if not mounting():
        pytest.skip("this machine lets no process mount a disk of its own")
    return zygote.run(Path.cwd(), *arguments, mounting=mounting_command, **how)
