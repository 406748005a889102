"""Time and peak memory of several variants of the same work.

The machine may be busy and its clock may change: variants run in turns, and ratios of medians are compared.
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

from retrieval.search import count_cores
from utils.files import write_json

RESULTS = Path(__file__).parent / "results"
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Variant:
    """One implementation: `run` handles `items` queries, images or steps.

    `role`: "" for this program, "baseline" for a plain implementation of docs/method.md, "limit" for the work
    that no implementation can avoid, "peer" for another library.
    """

    name: str
    run: Callable[[], object]
    items: int
    role: str = ""


def compare(
    variants: list[Variant], *, unit: str, repeats: int = 3, device: torch.device = CPU
) -> dict[str, Any]:
    """Run all variants `repeats` times in turns: median times, ratios to the baseline, peak memory in MiB.

    Peak memory is that of the process or GPU above what it held before, in a run that is not timed. Every
    variant has run once before that, so imports and caches do not count.
    """
    for variant in variants:
        variant.run()
    peaks = {variant.name: measure_peak_memory(variant.run, device) for variant in variants}
    runs: dict[str, list[float]] = {variant.name: [] for variant in variants}
    for _ in range(repeats):
        for variant in variants:
            runs[variant.name].append(time_run(variant.run) / variant.items)
    medians = {name: statistics.median(values) for name, values in runs.items()}
    baseline = next((medians[variant.name] for variant in variants if variant.role == "baseline"), None)
    rows = [
        {
            "name": variant.name,
            "role": variant.role,
            "items": variant.items,
            f"seconds_per_{unit}": medians[variant.name],
            "runs": runs[variant.name],
            "times_the_baseline": baseline / medians[variant.name] if baseline else None,
            "peak_mib": peaks[variant.name],
        }
        for variant in variants
    ]
    return {"unit": unit, "variants": rows}


def time_run(run: Callable[[], object]) -> float:
    """Wall time of one run in seconds, including the GPU work that it queued."""
    synchronize()
    start = time.perf_counter()
    run()
    synchronize()
    return time.perf_counter() - start


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def measure_peak_memory(run: Callable[[], object], device: torch.device = CPU) -> float | None:
    """Peak memory of `run` in MiB above what was held before it; None where the system does not report it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        held = torch.cuda.memory_allocated(device)
        run()
        return (torch.cuda.max_memory_allocated(device) - held) / 2**20
    try:
        ctypes.CDLL(None).malloc_trim(0)  # return free memory first, or it would count as held
        Path("/proc/self/clear_refs").write_text("5")  # reset the peak
    except (OSError, AttributeError):
        run()
        return None
    before = read_status_kib("VmRSS")
    run()
    return max(0, read_status_kib("VmHWM") - before) / 1024


def read_status_kib(name: str) -> int:
    """The value of a line of the process's status, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def available_memory_gib() -> float:
    """Available memory in GiB."""
    text = Path("/proc/meminfo").read_text()
    return int(re.findall(r"MemAvailable:\s+(\d+)", text)[0]) / 2**20


def describe_machine(device: torch.device = CPU) -> dict[str, Any]:
    """The machine that `device` was measured on: CPU, cores, memory, versions, date."""
    description = {
        "cpu": cpu_name(),
        "cores": count_cores(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "date": date.today().isoformat(),
    }
    if device.type == "cuda":
        description["gpu"] = torch.cuda.get_device_name(device)
    return description


def cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*:\s*(.+)", info.read_text()) if info.is_file() else []
    return names[0].strip() if names else platform.processor() or platform.machine()


def results_path(device: torch.device = CPU) -> Path:
    """The file with the results of this GPU, or of this CPU with its number of cores."""
    machine = describe_machine(device)
    name = machine.get("gpu") or f"{machine['cpu']} {machine['cores']} cores"
    return RESULTS / (re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") + ".json")


def save_results(section: str, results: dict[str, Any], device: torch.device = CPU) -> None:
    """Write `results` to this device's file, where they replace those of the same section, and print them."""
    path = results_path(device)
    sections = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    sections["machine"] = describe_machine(device)
    sections[section] = {**results, "date": date.today().isoformat()}
    write_json(path, sections)
    for row in results.get("variants", []):
        seconds = row[f"seconds_per_{results['unit']}"]
        times = f"{row['times_the_baseline']:8.1f} x" if row["times_the_baseline"] else " " * 10
        peak = f"{row['peak_mib']:7.0f} MiB" if row["peak_mib"] is not None else ""
        print(
            f"  {row['name']:<44} {1000 * seconds:10.3f} ms per {results['unit']:<7}{times} {peak}",
            flush=True,
        )
