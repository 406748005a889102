"""Our checkpoints as published pairs, and back."""

from pathlib import Path

import numpy as np
import pytest
import torch

from retrieval import hashing
from tests.conftest import SMALL_RUN
from tests.phases.test_trained import record

EXTRA = ("--image_size=64", "--batch_size=2", "--hash_bits=4")  # batches of the size of the run's


@pytest.mark.parametrize("network", ["alexnet", "resnet18"])
def test_a_pair_tests_as_the_checkpoint_it_was_written_from(
    prepared: Path, command, monkeypatch: pytest.MonkeyPatch, network: str
) -> None:
    monkeypatch.setattr(hashing, "FIT_STEPS", 100)
    arguments = [each for each in SMALL_RUN if not each.startswith("--network")]
    assert command("train", *arguments, f"--network={network}")[0] == 0
    status, output, errors = command("export", "--save_path=run", "--format=published")
    assert status == 0, errors
    assert "to test: python main.py --phase=test --save_path=run/published --dataset=tiny" in output
    state = torch.load("logs/run/published/model/model-net-4.cpkt", weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    assert list(torch.load("logs/run/published/model/model-mems-4.cpkt", weights_only=True)) == ["centers"]
    status, _, errors = command("test", "--save_path=run/published", *EXTRA)
    assert status == 0, errors
    ours, theirs = record("run"), record("run/published")
    assert ours["metrics"] == theirs["metrics"] and ours["hash"] == theirs["hash"]
    for domain in ("sketch", "photo"):
        files = [f"logs/{run}/vec/{domain}-4.npy" for run in ("run", "run/published")]
        assert np.array_equal(*(np.load(file) for file in files))


def test_what_the_published_program_lacks_is_said(prepared: Path, command) -> None:
    switches = ["--se_activation=relu", "--normalize", "--photo_channels=bgr"]
    assert command("train", *SMALL_RUN, *switches)[0] == 0
    status, output, _ = command("export", "--save_path=run")
    assert status == 0
    assert "builds no resnet18" in output and "knows no --se_activation and no --normalize" in output
    for option in ("--dataset=tiny", "--se_activation=relu", "--photo_channels=bgr", "--normalize"):
        assert f" {option}" in output[output.index("to test: ") :]


def test_nothing_to_export(prepared: Path, command) -> None:
    status, _, errors = command("export", "--save_path=nothing")
    assert status == 2 and "no checkpoint in logs/nothing/model" in errors


def test_a_zero_shot_run_and_what_its_pair_does_not_say(tree: Path, command) -> None:
    """The printed command gives the same figures as the run."""
    assert command("prepare", "--protocol=zero-shot", "--anno_path=zero")[0] == 0
    run = ["--loss_type=cosface", "--test_distance=angular", "--seed=3", "--anno_path=zero", *SMALL_RUN]
    assert command("train", *run)[0] == 0
    status, output, errors = command("export", "--save_path=run")
    assert status == 0, errors
    printed = next(line for line in output.splitlines() if line.startswith("to test: "))
    arguments = printed.split("--phase=test ")[1].split()
    status, _, errors = command("test", *arguments, "--hash_bits=4")
    assert status == 0, errors
    ours, theirs = record("run"), record("run/published")
    assert ours["metrics"] == theirs["metrics"] and ours["hash"] == theirs["hash"]
    assert theirs["distance"] == "angular"
