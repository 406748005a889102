"""Loading processes: what they hand over, and what is said when they cannot."""

import signal
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from datasets import workers
from datasets.workers import collate, explain_dead_workers, start_iterating
from utils.errors import UserError

SAMPLES = [(torch.zeros(1, 4, 4, dtype=torch.uint8), 3), (torch.ones(1, 4, 4, dtype=torch.uint8), 5)]


def test_samples_are_put_together_and_errors_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = collate(SAMPLES)
    assert images.shape == (2, 1, 4, 4) and labels.tolist() == [3, 5]
    torn, full = UserError("torn"), UserError("full")
    assert collate([SAMPLES[0], torn]) is torn
    monkeypatch.setattr(workers, "startup_error", full)
    assert collate(SAMPLES) is full and collate([torn]) is torn


def test_no_shared_memory_is_an_error_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(samples: list) -> Any:
        raise RuntimeError(said)

    monkeypatch.setattr(workers, "default_collate", refuse)
    said = "unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)"
    found = collate(SAMPLES)
    assert isinstance(found, UserError) and said in str(found) and "/dev/shm" in str(found)
    said = "stack expects each tensor to be equal size"
    with pytest.raises(RuntimeError, match="equal size"):
        collate(SAMPLES)


def test_a_dead_process_is_named_and_other_errors_pass() -> None:
    with (
        pytest.raises(UserError, match=r"worker died \(DataLoader worker \(pid 7\)"),
        explain_dead_workers(),
    ):
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")
    with pytest.raises(RuntimeError, match="something else"), explain_dead_workers():
        raise RuntimeError("something else")


def test_processes_that_cannot_be_started() -> None:
    class Full:
        def __iter__(self) -> Iterator:
            raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match=r"DataLoader workers cannot start .*No space left"):
        start_iterating(Full())
    assert list(start_iterating([1, 2])) == [1, 2]


def test_signals_are_for_the_main_process() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        workers.ignore_signals()
        assert signal.getsignal(signal.SIGINT) == signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
            signal.signal(number, handler)
