"""Training on a disk that is full, read-only or somebody else's: one line, and what was there stays."""

import os
import random
import re
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from torch.utils.tensorboard import SummaryWriter

from phases import test as test_phase
from phases import train as train_phase
from phases.train.trainer import Trainer
from run import results
from tests.conftest import SMALL_RUN
from tests.reliability.disks import files_end_at, main_after, mount
from tests.reliability.training import COMMON, Run, start, uninterrupted
from tests.reliability.training import trained as trained_to_the_end
from tests.victims import Zygote
from utils import checkpoint_files, checkpoints, tracking

RUN = Path("logs/run")
ARGUMENTS = (*SMALL_RUN, "--model_save_step=2", "--log_step=1")

# what a training writes, the function that does, how many bytes the disk takes of it, and the file
WRITES = {
    "scalars, at the start": (tracking, "write_text", 20, "log/scalars.csv"),
    "scalars, a row": (tracking.Scalars, "write", 60, "log/scalars.csv"),
    "events, at the start": (tracking, "open_board", 30, "log/tensorboard"),
    "events, a row": (SummaryWriter, "flush", 100, "log/tensorboard"),
    "checkpoint, its head": (checkpoints, "save", 0, "model/checkpoint-2.pt"),
    "checkpoint, its middle": (checkpoints, "save", 60_000, "model/checkpoint-2.pt"),
    "curves": (train_phase, "save_training_curves", 1000, "log/curves.png"),
    "features": (test_phase, "embed_test_set", 200, "vec"),
    "result.txt": (results, "append_lines", 100, "log/result.txt"),
    "result.json": (results, "write_json", 3000, "log/result.json"),
    "contact sheet": (test_phase, "save_png", 1000, "log/contact_sheet.png"),
}


@contextmanager
def as_nobody() -> Iterator[None]:
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def during(patch: pytest.MonkeyPatch, owner: Any, name: str, trouble: Callable) -> None:
    """Let `owner.name` run in the context `trouble()`."""
    function = getattr(owner, name)

    def troubled(*arguments: Any, **named: Any) -> Any:
        with trouble():
            return function(*arguments, **named)

    patch.setattr(owner, name, troubled)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".pt"}


@pytest.mark.parametrize("what", WRITES)
def test_a_write_that_the_disk_refuses_is_one_line_and_the_run_continues(
    prepared: Path, command, monkeypatch, quick_codes: None, what: str
) -> None:
    owner, name, size, file = WRITES[what]
    with monkeypatch.context() as patch:
        during(patch, owner, name, lambda: files_end_at(size))
        status, _, errors = command("train", *ARGUMENTS)
    assert status == 2, errors
    assert errors.count("error: ") == 1 and "File too large; " in errors and "Traceback" not in errors
    assert str(RUN / file) in errors
    run = Run(RUN)
    run.check_readable()
    assert not run.leftovers()
    status, _, errors = command("train", *ARGUMENTS)
    assert status == 0, errors
    assert [row["step"] for row in tracking.read_scalars(RUN / "log/scalars.csv")] == [1, 2, 3, 4]
    assert [each["step"] for each in results.read_records(RUN / "log/result.json")] == [4]


@pytest.mark.parametrize("times", [2, pytest.param(30, marks=pytest.mark.long)])
def test_a_disk_that_fills_up_at_any_moment(
    tmp_path: Path, zygote: Zygote, ledger: Callable, times: int
) -> None:
    """From a random moment on, no file becomes larger than so many bytes."""
    rng = random.Random(times)
    whole = uninterrupted(zygote, tmp_path)
    run = Run(tmp_path / "logs/run")
    refused = ended = 0
    while refused < times:
        victim = start(zygote, tmp_path, "run", workers=refused % 2)
        time.sleep(rng.uniform(0, 1.5))
        size = int(10 ** rng.uniform(5, 8.1))
        with suppress(ProcessLookupError):  # too late
            resource.prlimit(victim.number, resource.RLIMIT_FSIZE, (size, size))
        assert victim.wait() in (0, 2), victim.text()
        run.check_readable()
        assert not run.leftovers() and "Traceback" not in victim.text()
        if victim.status == 0:
            run.begin_anew(whole)
            ended += 1
        else:
            assert re.search(r"error: logs/run/model/checkpoint-\d\.pt: File too large; ", victim.text())
            refused += 1
    trained_to_the_end(zygote, tmp_path, "run")
    run.check_whole(whole)
    ledger(
        2,
        "training: from a random moment on, no room for more than 0.1 to 126 MB of a file",
        times=times,
        outcome="one line, exit status 2, the checkpoints before it readable, no temporary file; once there "
        "is room, final weights equal bit for bit",
    )


@pytest.mark.plots  # as those of the earlier test were drawn
@pytest.mark.parametrize("what", ["features", "result.txt", "result.json", "contact sheet"])
def test_what_an_earlier_test_wrote_stays(trained: Path, command, monkeypatch, what: str) -> None:
    owner, name, size, _ = WRITES[what]
    shutil.rmtree(RUN / "vec")
    before = contents(RUN / "log")
    size = min(size, 20)  # the files of the test before are no longer than these
    during(monkeypatch, owner, name, lambda: files_end_at(size))
    status, _, errors = command("test", "--save_path=run")
    assert status == 2, errors
    after = contents(RUN / "log")
    if what == "result.json":  # which comes last
        after.pop(RUN / "log/result.txt")
    for path, content in after.items():
        assert before[path] == content, path
    assert not Run(RUN).leftovers()


@pytest.mark.skipif(os.geteuid() != 0, reason="takes another user's place, as root alone can")
@pytest.mark.parametrize("what", ["scalars, at the start", "checkpoint, its head", "curves", "contact sheet"])
def test_a_folder_of_somebody_else(
    prepared: Path, command, monkeypatch, quick_codes: None, tmp_path: Path, what: str
) -> None:
    tmp_path.chmod(0o755)
    owner, name, _, file = WRITES[what]
    with monkeypatch.context() as patch:
        during(patch, owner, name, as_nobody)
        status, _, errors = command("train", *ARGUMENTS)
    folder = (RUN / file).parent  # which may be what cannot be made
    assert status == 2 and f"error: {folder}" in errors
    assert ": Permission denied; check the owner and permissions of the file or folder" in errors
    run = Run(RUN)
    run.check_readable()
    assert not run.leftovers()
    assert command("train", *ARGUMENTS)[0] == 0


@pytest.fixture
def quick_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retrieval.hashing.FIT_STEPS", 100)


TRAIN = ("--phase=train", *COMMON, *ARGUMENTS)


@pytest.mark.parametrize(("size", "step"), [("60k", 2), ("120k", 2), ("220k", 4), ("280k", 4)])
def test_a_full_disk(prepared: Path, zygote: Zygote, size: str, step: int) -> None:
    """A real one, in memory, with room for none or one of the checkpoints."""
    Path("logs").mkdir()
    keep = "find logs; cp -r logs/run kept"
    done = main_after(zygote, mount(f"size={size}", "logs"), *TRAIN, "--num_workers=0", then=keep)
    output = done.text()
    assert done.status == 2, output
    path = f"logs/run/model/checkpoint-{step}.pt"
    assert f"error: {path}: No space left on device; make room on the disk" in output
    assert "Traceback" not in output and ".tmp" not in output and ".lock" not in output
    kept = Run(Path("kept"))
    kept.check_readable()
    assert kept.steps() == [2][: step // 4]


def test_a_read_only_disk(prepared: Path, zygote: Zygote) -> None:
    (RUN / "model").mkdir(parents=True)
    read_only = f"{mount('size=1m', 'logs')} && mkdir logs/run && mount -o remount,ro logs"
    done = main_after(zygote, read_only, *TRAIN, "--num_workers=0")
    output = done.text()
    assert done.status == 2 and "Traceback" not in output, output
    assert "error: logs/run/.lock: Read-only file system; the file system is read-only" in output, output


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder in which the name of a socket is not too long: 107 bytes are all there is."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


@pytest.mark.parametrize("what", ["semaphores", "images", "temporary"])
def test_no_room_to_hand_images_over(prepared: Path, zygote: Zygote, short_folder: Path, what: str) -> None:
    """Shared memory is where they go; the folder for temporary files has the socket that it goes through."""
    room = {"semaphores": "size=8k", "images": "size=300k", "temporary": "nr_inodes=2"}[what]
    folder = str(short_folder) if what == "temporary" else "/dev/shm"
    if not Path(folder).is_dir():
        pytest.skip(f"no {folder} here")
    done = main_after(
        zygote,
        mount(room, folder),
        *(*TRAIN, "--num_workers=1", "--image_size=160"),
        environment={"TMPDIR": str(short_folder)},
    )
    output = done.text()
    assert done.status == 2, output
    assert "Traceback" not in output.partition("Exception ignored in")[0]  # of PyTorch's half-made loader
    errors = [line for line in output.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "DataLoader workers cannot start" in errors[0]
    assert "No space left on device" in errors[0] and "a smaller --num_workers (0 for none)" in errors[0]


def test_a_worker_that_dies_leaves_a_checkpoint_of_the_last_whole_step(
    prepared: Path, command, monkeypatch
) -> None:
    """PyTorch says so in the middle of whatever is done just then."""
    whole = Trainer.training_step

    within = [True, False]

    def step(self: Trainer, *batches: Any) -> Any:
        if self.step == 3:
            self.within_step = within.pop(0)
            raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")
        return whole(self, *batches)

    monkeypatch.setattr(Trainer, "training_step", step)
    for expected in ([], [3]):
        shutil.rmtree("logs", ignore_errors=True)
        status, output, errors = command("train", *SMALL_RUN)
        assert status == 2 and errors.count("error: ") == 1
        assert (
            "error: a DataLoader worker died (DataLoader worker (pid 7) is killed by signal: Killed.)"
            in errors
        )
        assert checkpoint_files.saved_steps(RUN / "model") == expected
        assert ("saved after step 3" in output) == bool(expected)
