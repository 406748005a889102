"""What figures depend on is told by name: processor, threads, GPU."""

import platform
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from utils import hardware


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    hardware.processor.cache_clear()
    yield
    hardware.processor.cache_clear()


def test_the_processor_by_the_name_that_the_system_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nmodel name\t: Some CPU: 2 GHz\n\nprocessor\t: 1\nmodel name\t: other\n")
    monkeypatch.setattr(hardware, "CPU_INFO", file)
    assert hardware.processor() == "Some CPU: 2 GHz"


def test_a_system_that_tells_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "CPU_INFO", tmp_path / "none")
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert hardware.processor() == "aarch64"


def test_another_systems_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "CPU_INFO", tmp_path / "none")
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(hardware.subprocess, "run", lambda *_, **__: SimpleNamespace(stdout="Apple M9\n"))
    assert hardware.processor() == "Apple M9"

    def not_there(*_: object, **__: object) -> None:
        raise FileNotFoundError("sysctl")

    hardware.processor.cache_clear()
    monkeypatch.setattr(hardware.subprocess, "run", not_there)
    monkeypatch.setattr(platform, "processor", lambda: "arm")
    assert hardware.processor() == "arm"


def test_a_gpu_is_named_where_it_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: f"GPU {number}")
    assert hardware.get_machine_info("cuda:1")["GPU"] == "GPU 1"
    assert hardware.get_machine_info("cuda")["GPU"] == hardware.get_machine_info("auto")["GPU"] == "GPU None"
    assert "GPU" not in hardware.get_machine_info("cpu")


def test_in_words() -> None:
    assert hardware.describe_machine({}) == ""
    assert hardware.describe_machine({"processor": "A", "threads": 1}) == "A, 1 thread"
    assert hardware.describe_machine({"processor": "A", "threads": 2, "GPU": "B"}) == "B; A, 2 threads"
