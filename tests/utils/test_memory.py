"""That threads share arenas, told by what glibc reports of itself."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
COUNTED = """
import ctypes, sys, threading
from utils.memory import limit_malloc_arenas
if sys.argv[1:]:
    limit_malloc_arenas(int(sys.argv[1]))
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
ready = threading.Barrier(8)
def take():
    libc.malloc(1000)
    ready.wait()
threads = [threading.Thread(target=take) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(libc.fopen(b"/dev/stdout", b"w"))
libc.malloc_info(0, file)
libc.fflush(file)
"""


def arenas(*arguments: str) -> int:
    """How many there are after eight threads have taken memory at once."""
    command = [sys.executable, "-c", COUNTED, *arguments]
    report = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    return report.count("<heap nr=")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
def test_threads_share_as_many_arenas_as_they_are_given() -> None:
    assert arenas("2") <= 2 < arenas()
