"""The same command gives the same bits, whatever came in between; a folder has one command at a time."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import main
from retrieval import hashing
from tests.conftest import SMALL_RUN
from tests.phases.train.test_speed import train_one_step
from tests.reliability.equal import equal
from tests.reliability.training import CONTENTS, Run, prepare, start, trained
from tests.victims import Zygote
from utils import checkpoints
from utils.files import PROJECT
from utils.locks import Locked, folder_lock, wait_for_folder_lock

OWN = ("save_path", "num_workers", "given", "deterministic")  # options that may differ


def figures_of(run: Path) -> Any:
    """result.json without what says where and when it was made, and the features of the test."""
    records = json.loads((run / "log/result.json").read_text())
    for record in records:
        del record["checkpoint"]
        for options in (record["options"], record["training_options"]):
            for name in OWN:
                options.pop(name, None)
    features = {path.name: path.read_bytes() for path in sorted((run / "vec").glob("*.npy"))}
    assert len(features) == 2
    return records, features


def same(home: Path, one: str, other: str) -> bool:
    runs = [home / "logs" / name for name in (one, other)]
    states = [checkpoints.load(checkpoints.find(run / "model")) for run in runs]
    return figures_of(runs[0]) == figures_of(runs[1]) and all(
        equal(states[0][part], states[1][part]) for part in CONTENTS
    )


@pytest.mark.parametrize("times", [1, pytest.param(3, marks=pytest.mark.long)])
def test_weights_features_and_results_repeat(
    tmp_path: Path, zygote: Zygote, ledger: Callable, times: int
) -> None:
    """The same again, with workers and --deterministic, from a checkpoint in the middle."""
    prepare(zygote, tmp_path)
    for seed in range(times):
        given = [f"--seed={seed}"]
        trained(zygote, tmp_path, "one", *given)
        trained(zygote, tmp_path, "again", *given)
        trained(zygote, tmp_path, "deterministic", *given, "--deterministic", workers=2)
        shutil.copytree(tmp_path / "logs/one", tmp_path / "logs/continued")
        for step in (3, 4):
            (tmp_path / f"logs/continued/model/checkpoint-{step}.pt").unlink()
        shutil.rmtree(tmp_path / "logs/continued/log")
        shutil.rmtree(tmp_path / "logs/continued/vec")
        trained(zygote, tmp_path, "continued", *given, workers=1)
        for other in ("again", "deterministic", "continued"):
            assert same(tmp_path, "one", other), other
        shutil.rmtree(tmp_path / "logs")
    ledger(
        6,
        "training and test on the CPU: the same command again; with 2 workers and --deterministic; "
        "continued from the checkpoint in the middle with 1",
        times=3 * times,
        outcome="weights, moments, random states, features and result.json equal bit for bit",
    )


def test_a_second_command_is_told_who_is_at_work_in_the_folder(tmp_path: Path, zygote: Zygote) -> None:
    prepare(zygote, tmp_path)
    run = Run(tmp_path / "logs/run")
    long = ("--num_steps=1000", "--keep=1")  # killed much sooner
    first = start(zygote, tmp_path, "run", *long)
    while not run.steps():
        assert first.running(), first.text()
        time.sleep(0.01)
    other = tmp_path / "other"  # for its own output
    other.mkdir()
    for name in ("logs", "anno", "datasets"):
        (other / name).symlink_to(tmp_path / name)
    second = start(zygote, other, "run", *long)
    assert second.wait() == 2
    assert f"error: logs/run is in use by process {first.number} on " in second.text()
    assert first.running(), "and was not disturbed"
    first.kill()
    first.wait()
    run.check_readable()


PARENT = """
import multiprocessing
import sys
import time
from pathlib import Path
from utils.locks import folder_lock
with folder_lock(Path(sys.argv[1])):
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    child.start()
    print(child.pid, flush=True)
    time.sleep(60)
"""


def test_a_child_does_not_hold_the_folder_for_its_dead_parent(tmp_path: Path) -> None:
    """Loading processes outlive a parent that was killed for seconds."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], cwd=PROJECT, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        with pytest.raises(Locked, match=f"process {parent.pid} on "), folder_lock(tmp_path):
            pass
        parent.kill()
        parent.wait()
        try:
            with wait_for_folder_lock(tmp_path):  # once the child has got so far
                os.kill(child, 0)  # it is there
        finally:
            os.kill(child, signal.SIGKILL)


@pytest.fixture
def undone() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


def test_deterministic_is_in_what_is_stored_and_in_force(
    prepared: Path, command, monkeypatch, undone: None
) -> None:
    monkeypatch.setattr(hashing, "FIT_STEPS", 100)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    assert command("train", *SMALL_RUN)[0] == 0
    stored = checkpoints.load(Path("logs/run/model/checkpoint-4.pt"))["options"]
    assert stored["deterministic"] is False and not torch.are_deterministic_algorithms_enabled()
    assert command("train", *SMALL_RUN, "--save_path=two", "--deterministic")[0] == 0
    assert torch.are_deterministic_algorithms_enabled() and not torch.backends.cudnn.benchmark
    assert checkpoints.load(Path("logs/two/model/checkpoint-4.pt"))["options"]["deterministic"] is True
    record = json.loads(Path("logs/two/log/result.json").read_text())[0]
    assert record["options"]["deterministic"] is True


@pytest.mark.parametrize("network", ["alexnet", "resnext101"])
def test_no_operation_of_a_step_refuses_to_be_deterministic(
    prepared: Path, undone: None, network: str
) -> None:
    trainer, loss = train_one_step(f"--network={network}", "--deterministic", "--image_size=32")
    assert torch.are_deterministic_algorithms_enabled() and loss.isfinite() and trainer.step == 1


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("network", ["resnet18", "alexnet", "resnext101"])
def test_a_training_on_cuda_repeats(prepared: Path, undone: None, network: str) -> None:
    common = ["--dataset=tiny", "--anno_path=anno", "--num_workers=0", "--device=cuda", "--deterministic"]
    for name in ("one", "two"):
        given = [*SMALL_RUN, f"--network={network}", "--image_size=224", f"--save_path={name}"]
        assert main.main(["--phase=train", *common, *given]) == 0
    one, two = (checkpoints.load(Path(f"logs/{name}/model/checkpoint-4.pt")) for name in ("one", "two"))
    assert all(equal(one[part], two[part]) for part in ("network", "loss", "optimizer"))
    for domain in ("sketch", "photo"):
        features = [np.load(f"logs/{name}/vec/{domain}-4.npy") for name in ("one", "two")]
        assert np.array_equal(*features)
