"""Two processes on the CPU, as torchrun starts them: the same training, the same features, nothing lost."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import SMALL_RUN
from tests.victims import Victim, Zygote
from utils import checkpoint_files, checkpoints

COMMON = ["--dataset=tiny", "--anno_path=anno", "--num_workers=0", "--device=cpu"]
LIMIT = 180  # seconds, against a test that hangs

# a step of one process on the joint batch, or of two on its halves, without dropout and batch statistics
STEP = """
import sys
import torch
import main
from datasets.annotations import load_annotation
from phases.train.trainer import Trainer
from run.config import config_from_options, resolve_training
from utils import distributed
target = sys.argv.pop(1)
config = resolve_training(config_from_options(main.parse()))
data = config.data
with distributed.process_group():
    trainer = Trainer(config, load_annotation(data.data_path, data.anno_path, data.dataset))
    trainer.network.eval()
    loss = trainer.training_step(*next(trainer.batches()))
    mean = distributed.all_reduce_mean(float(loss))
    gradients = [each.grad for each in trainer.objective.parameters()]
    if distributed.rank() == 0:
        torch.save([torch.tensor(mean), *gradients], target)
"""


# one process fails; what ends the group waits, as NCCL's does for exchanges that will never be
FAILING = """
import sys
import time
import torch.distributed as dist
import main
from phases import train
from utils import distributed
from utils.errors import UserError
dist.destroy_process_group = lambda *_: time.sleep(3600)
def fail(config):
    if distributed.rank() == 1:
        raise UserError("the image of process 1 cannot be read")
    while True:
        distributed.all_reduce_mean(0.0)
train.train_in_group = fail
sys.exit(main.main())
"""


def train(zygote: Zygote, *arguments: str) -> Victim:
    """A training of two processes in the current directory."""
    return zygote.start(Path.cwd(), "--phase=train", *COMMON, *SMALL_RUN, *arguments, processes=2)


def finished(process: Victim) -> str:
    process.wait(LIMIT)
    return process.text()


def test_gradients_are_those_of_the_joint_batch(prepared: Path, tmp_path: Path, zygote: Zygote) -> None:
    options = ["--phase=train", *COMMON, *SMALL_RUN, "--accumulate=1"]
    together = zygote.run(tmp_path, "two.pt", *options, "--batch_size=2", program=STEP, processes=2)
    assert together.status == 0 and "error" not in together.text().lower(), together.text()
    alone = zygote.run(tmp_path, "one.pt", *options, "--batch_size=4", program=STEP)
    assert alone.status == 0, alone.text()
    one, two = (torch.load(name, weights_only=True) for name in ("one.pt", "two.pt"))
    assert len(one) == len(two) > 10
    for expected, found in zip(one, two, strict=True):
        assert torch.allclose(expected, found, rtol=1e-3, atol=1e-5 * float(expected.abs().max()))


def test_a_run_of_two_is_tested_and_continued_by_one(prepared: Path, command, zygote: Zygote) -> None:
    output = finished(train(zygote, "--num_steps=3", "--log_step=1"))
    assert "2 + 2 images of 64 px a step in each of 2 processes, 4 + 4 in all" in output, output
    assert output.count("test MAP:") == 1  # one of them speaks
    assert output.count("next: ") == 1
    assert checkpoint_files.saved_steps(Path("logs/run/model")) == [3]
    with Path("logs/run/log/scalars.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["1", "2", "3"]
    assert not list(Path("logs").rglob("*.tmp")) and not list(Path("logs").rglob(".lock"))

    together = {domain: np.load(f"logs/run/vec/{domain}-3.npy") for domain in ("sketch", "photo")}
    for path in Path("logs/run/vec").iterdir():
        path.unlink()
    assert command("test", "--save_path=run")[0] == 0
    for domain, values in together.items():
        assert values.shape[1] == {"sketch": 6, "photo": 9}[domain]  # no multiple of what two take
        np.testing.assert_allclose(values, np.load(f"logs/run/vec/{domain}-3.npy"), rtol=1e-5, atol=1e-6)

    state = checkpoints.load(Path("logs/run/model/checkpoint-3.pt"))
    assert len(state["random"]) == 2
    state["options"]["num_steps"] = 4
    checkpoints.save(Path("logs/run/model/checkpoint-3.pt"), state)
    status, output, errors = command("train", *SMALL_RUN)
    assert status == 0 and "continuing after step 3" in output, errors


def test_an_error_is_printed_though_the_end_of_the_group_would_wait(
    prepared: Path, tmp_path: Path, zygote: Zygote
) -> None:
    options = ["--phase=train", *COMMON, *SMALL_RUN]
    process = zygote.start(tmp_path, *options, program=FAILING, processes=2)
    since = time.monotonic()
    output = finished(process)
    assert time.monotonic() - since < 90 and process.status != 0
    assert "error: the image of process 1 cannot be read" in output


def workers_of(process: Victim) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(process.number)], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


def started(zygote: Zygote, steps: int) -> Victim:
    """A long training of two processes that has done some `steps`."""
    process = train(
        zygote, "--num_steps=100000", "--annealing_step=10", "--log_step=1", "--model_save_step=2"
    )
    deadline = time.monotonic() + LIMIT
    while not any(step >= steps for step in checkpoint_files.saved_steps(Path("logs/run/model"))):
        assert process.running() and time.monotonic() < deadline, process.text()
        time.sleep(0.05)
    return process


@pytest.mark.skipif(sys.platform != "linux", reason="pgrep finds the processes")
def test_a_dead_process_ends_the_run(prepared: Path, zygote: Zygote) -> None:
    process = started(zygote, steps=2)
    workers = workers_of(process)
    assert len(workers) == 2
    os.kill(workers[1], signal.SIGKILL)
    since = time.monotonic()
    finished(process)
    assert time.monotonic() - since < 60 and process.status != 0
    for step in checkpoint_files.saved_steps(Path("logs/run/model")):
        checkpoints.load(Path(f"logs/run/model/checkpoint-{step}.pt"))
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)


@pytest.mark.skipif(sys.platform != "linux", reason="pgrep finds the processes")
def test_a_signal_to_one_stops_all_at_the_same_step(prepared: Path, zygote: Zygote) -> None:
    process = started(zygote, steps=2)
    os.kill(workers_of(process)[1], signal.SIGTERM)
    output = finished(process)
    assert "and saved; the same command continues" in output, output
    last = checkpoint_files.saved_steps(Path("logs/run/model"))[-1]
    assert f"stopped after step {last} and saved" in output


def test_torchrun_is_for_training_and_test(prepared: Path, command, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"}
    for name, value in {**given, "MASTER_PORT": "29500"}.items():
        monkeypatch.setenv(name, value)
    status, _, errors = command("reproduce", "--table", "losses")
    assert status == 2 and "torchrun is for train and test" in errors
