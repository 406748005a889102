"""A tiny training to be killed, stopped and continued, and what must hold of it ever after."""

import csv
import shutil
from pathlib import Path

from tests.conftest import SMALL_RUN, draw_tree
from tests.reliability.equal import equal
from tests.victims import Victim, Zygote
from utils import checkpoint_files, checkpoints

COMMON = ("--dataset=tiny", "--anno_path=anno", "--device=cpu")
STEPS = 4
# resnet18, so that there is time to be killed while a checkpoint is written
TRAIN = (
    "--phase=train",
    *COMMON,
    "--network=resnet18",
    *SMALL_RUN[1:],
    "--model_save_step=1",
    "--log_step=1",
)
CONTENTS = ("network", "loss", "optimizer", "schedule", "scaler", "random", "step", "lists")


def prepare(zygote: Zygote, folder: Path) -> None:
    """Put a tiny data set and its lists into `folder`."""
    draw_tree(folder / "datasets/data/tiny")
    victim = zygote.run(folder, "--phase=prepare", *COMMON, "--num_workers=0", "--test_per_category=2")
    assert victim.status == 0, victim.text()


def start(zygote: Zygote, folder: Path, run: str, *more: str, workers: int = 0) -> Victim:
    return zygote.start(folder, *TRAIN, f"--save_path={run}", f"--num_workers={workers}", *more)


def trained(zygote: Zygote, folder: Path, run: str, *more: str, workers: int = 0) -> dict:
    """Train to the end, which must come; returns the last checkpoint."""
    victim = start(zygote, folder, run, *more, workers=workers)
    assert victim.wait() == 0, victim.text()
    return checkpoints.load(checkpoints.find(folder / "logs" / run / "model"))


def uninterrupted(zygote: Zygote, folder: Path) -> dict:
    """Prepare `folder`; the last checkpoint of a training there that nothing disturbed, its run removed."""
    prepare(zygote, folder)
    whole = trained(zygote, folder, "whole")
    shutil.rmtree(folder / "logs/whole")
    return whole


class Run:
    """A run's folder, looked at from outside. What was found readable is not read again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.model = folder, folder / "model"
        self.seen: set[tuple[str, int]] = set()

    def steps(self) -> list[int]:
        return checkpoint_files.saved_steps(self.model)

    def leftovers(self) -> list[Path]:
        """Temporary files, and locks of processes that are gone.

        A lock that says nothing yet is what a signal left right after it was opened: the next one takes it.
        """
        found = [path for path in self.folder.rglob(".*") if path.is_file()]
        return [path for path in found if path.name != ".lock" or path.stat().st_size]

    def half_written(self, victim: Victim) -> list[Path]:
        """Checkpoints that it is writing."""
        return sorted(self.model.glob(f".checkpoint-*.{victim.number}.tmp"))

    def check_readable(self) -> None:
        for step in self.steps():
            path = checkpoint_files.checkpoint_path(self.model, step)
            state = (path.name, path.stat().st_mtime_ns)
            if state not in self.seen:
                assert checkpoints.load(path)["step"] == step
                self.seen.add(state)

    def check_whole(self, expected: dict) -> None:
        """All steps are there once, the last as `expected`, and nothing else."""
        self.check_readable()
        found = checkpoints.load(checkpoints.find(self.model))
        for part in CONTENTS:
            assert equal(expected[part], found[part]), part
        with (self.folder / "log" / "scalars.csv").open() as file:
            assert [row["step"] for row in csv.DictReader(file)] == [str(n + 1) for n in range(STEPS)]
        assert not self.leftovers()

    def begin_anew(self, expected: dict) -> None:
        """After it came to its end: check that it is as `expected`, and remove it for the next one."""
        self.check_whole(expected)
        shutil.rmtree(self.folder)
        self.seen.clear()
