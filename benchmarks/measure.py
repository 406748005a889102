"""Times and memory of variants of one piece of work, taken in turns on the same input.

A ratio of two times of one run says more than a time: the machine may be busy, its clock may change. So every
variant is run once, then all once more, and so on, and medians are compared.
"""

import ctypes
import json
import os
import platform
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch

from retrieval.search import cores
from utils.files import write_json

RESULTS = Path(__file__).parent / "results"
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Variant:
    """One way to do the work: `run` handles `items` queries, images or steps.

    `role`: "" for this program, "baseline" for the plain way of docs/method.md, "limit" for work that no
    way can do without, "peer" for another library.
    """

    name: str
    run: Callable[[], object]
    items: int
    role: str = ""


def compare(
    variants: list[Variant], *, unit: str, repeats: int = 3, device: torch.device = CPU
) -> dict[str, Any]:
    """Run all variants `repeats` times in turns; a record of medians, ratios to the baseline and peak memory.

    Peak memory is that of the process, or of the GPU, above what it held before a run that is not timed. All
    have run once before that: what is loaded or chosen once does not count.
    """
    for each in variants:
        each.run()
    peaks = {each.name: peak_memory(each.run, device) for each in variants}
    runs: dict[str, list[float]] = {each.name: [] for each in variants}
    for _ in range(repeats):
        for each in variants:
            runs[each.name].append(seconds(each.run) / each.items)
    medians = {name: statistics.median(values) for name, values in runs.items()}
    baseline = next((medians[each.name] for each in variants if each.role == "baseline"), None)
    rows = [
        {
            "name": each.name,
            "role": each.role,
            "items": each.items,
            f"seconds_per_{unit}": medians[each.name],
            "runs": runs[each.name],
            "times_the_baseline": baseline / medians[each.name] if baseline else None,
            "peak_mib": peaks[each.name],
        }
        for each in variants
    ]
    return {"unit": unit, "variants": rows}


def seconds(run: Callable[[], object]) -> float:
    """Wall time of one run, the GPU's queue included."""
    wait()
    start = time.perf_counter()
    run()
    wait()
    return time.perf_counter() - start


def wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_memory(run: Callable[[], object], device: torch.device = CPU) -> float | None:
    """MiB held at most during `run`, above what was held before; None where the system does not say."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        held = torch.cuda.memory_allocated(device)
        run()
        return (torch.cuda.max_memory_allocated(device) - held) / 2**20
    try:
        ctypes.CDLL(None).malloc_trim(0)  # what is free goes back first: it would count as held
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    except (OSError, AttributeError):
        run()
        return None
    before = status("VmRSS")
    run()
    return max(0, status("VmHWM") - before) / 1024


def status(name: str) -> int:
    """A line of the process's status, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def memory_gib() -> float:
    """Memory that is free for use, in GiB."""
    text = Path("/proc/meminfo").read_text()
    return int(re.findall(r"MemAvailable:\s+(\d+)", text)[0]) / 2**20


def machine(device: torch.device = CPU) -> dict[str, Any]:
    """What the figures of `device` were measured on."""
    found = {
        "cpu": cpu_name(),
        "cores": cores(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "date": date.today().isoformat(),
    }
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    return found


def cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*:\s*(.+)", info.read_text()) if info.is_file() else []
    return names[0].strip() if names else platform.processor() or platform.machine()


def results_path(device: torch.device = CPU) -> Path:
    """One file per kind of device: a GPU, or a CPU and its number of cores."""
    found = machine(device)
    name = found.get("gpu") or f"{found['cpu']} {found['cores']} cores"
    return RESULTS / (re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") + ".json")


def record(section: str, found: dict[str, Any], device: torch.device = CPU) -> None:
    """Put what a script found under its name into this device's file, and leave the others' there."""
    path = results_path(device)
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    write_json(
        path, {**kept, "machine": machine(device), section: {**found, "date": date.today().isoformat()}}
    )
    for row in found.get("variants", []):
        per = row[f"seconds_per_{found['unit']}"]
        times = f"{row['times_the_baseline']:8.1f} x" if row["times_the_baseline"] else " " * 10
        peak = f"{row['peak_mib']:7.0f} MiB" if row["peak_mib"] is not None else ""
        print(f"  {row['name']:<44} {1000 * per:10.3f} ms per {found['unit']:<7}{times} {peak}", flush=True)
