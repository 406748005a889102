"""The hardware that a number was computed on: its last digits depend on it."""

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
    """The model of this machine's processor, or its architecture where the system does not tell the model."""
    return read_linux_model() or read_macos_model() or platform.processor() or platform.machine() or UNKNOWN


def read_linux_model() -> str:
    try:
        lines = CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "")


def read_macos_model() -> str:
    if platform.system() != "Darwin":
        return ""
    command = ["sysctl", "-n", "machdep.cpu.brand_string"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""


def get_machine_info(device: str = "cpu") -> dict[str, Any]:
    """The processor's name, the number of threads that PyTorch computes with, and the GPU of `device`.

    `device` is a value of --device; "auto" is the GPU if there is one.
    """
    info: dict[str, Any] = {"processor": processor(), "threads": torch.get_num_threads()}
    if (device == "auto" or device.startswith("cuda")) and torch.cuda.is_available():
        index = device.partition(":")[2]
        info["GPU"] = torch.cuda.get_device_name(int(index) if index else None)
    return info


def describe_machine(machine: dict[str, Any]) -> str:
    """What `get_machine_info` returned, as text; empty for an empty dict."""
    if not machine:
        return ""
    threads = machine.get("threads", UNKNOWN)
    words = f"{machine.get('processor', UNKNOWN)}, {threads} {'thread' if threads == 1 else 'threads'}"
    return f"{machine['GPU']}; {words}" if "GPU" in machine else words
