"""The hardware that a figure was computed on: its last digits depend on it."""

import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import torch

CPU_INFO = Path("/proc/cpuinfo")
UNKNOWN = "unknown"


@cache
def processor() -> str:
    """The name of this machine's processor, its architecture where the system does not tell a name."""
    return from_linux() or from_macos() or platform.processor() or platform.machine() or UNKNOWN


def from_linux() -> str:
    try:
        lines = CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "")


def from_macos() -> str:
    if platform.system() != "Darwin":
        return ""
    command = ["sysctl", "-n", "machdep.cpu.brand_string"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""


def get_machine_info(device: str = "cpu") -> dict[str, Any]:
    """The processor's name, the number of threads that PyTorch computes with, and the GPU of `device`.

    `device` is as --device has it: "auto" is a GPU where there is one.
    """
    found: dict[str, Any] = {"processor": processor(), "threads": torch.get_num_threads()}
    if (device == "auto" or device.startswith("cuda")) and torch.cuda.is_available():
        number = device.partition(":")[2]
        found["GPU"] = torch.cuda.get_device_name(int(number) if number else None)
    return found


def describe_machine(machine: dict[str, Any]) -> str:
    """A record that `machine` returned, in words; empty for an empty one."""
    if not machine:
        return ""
    threads = machine.get("threads", UNKNOWN)
    words = f"{machine.get('processor', UNKNOWN)}, {threads} {'thread' if threads == 1 else 'threads'}"
    return f"{machine['GPU']}; {words}" if "GPU" in machine else words
