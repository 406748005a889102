"""--threads holds while the phase computes and is recorded; a training that goes on otherwise says so."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tests.conftest import SMALL_RUN

Command = Callable[..., tuple[int, str, str]]
RESULT = Path("logs/run/log/result.json")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def recorded() -> dict[str, int]:
    """Of the newest test, the threads of the test and of the training."""
    record = json.loads(RESULT.read_text())[-1]
    assert record["machine"]["processor"]
    return {name: record[name]["threads"] for name in ("machine", "training_machine")}


def test_a_continued_training_takes_its_own_threads_again(trained: Path, command: Command) -> None:
    first = recorded()["machine"]
    longer = [*(each for each in SMALL_RUN if "num_steps" not in each), "--num_steps=5"]
    status, output, _ = command("train", *longer, f"--threads={first + 1}")
    assert status == 0 and torch.get_num_threads() == first + 1
    assert recorded() == {"machine": first + 1, "training_machine": first + 1}
    assert f"so far, continues on {json.loads(RESULT.read_text())[0]['machine']['processor']}" in output
    assert "the weights will differ in their last bits from those of an unbroken run" in output

    torch.set_num_threads(first)
    longer[-1] = "--num_steps=6"
    status, output, _ = command("train", *longer)
    assert status == 0 and torch.get_num_threads() == first + 1 and "last bits" not in output


def test_a_test_has_threads_of_its_own(trained: Path, command: Command) -> None:
    first = recorded()["machine"]
    assert command("test", "--save_path=run", f"--threads={first + 2}")[0] == 0
    assert recorded() == {"machine": first + 2, "training_machine": first}


@pytest.mark.parametrize("given", ["0", "-1", "many"])
def test_numbers_that_are_none(given: str, command: Command) -> None:
    status, _, errors = command("test", f"--threads={given}")
    assert status == 2 and "--threads" in errors
