"""What is killed while it draws, embeds or indexes goes on when the same command is given again."""

import hashlib
import json
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from phases.serve.folder import page_folder
from tests.conftest import SMALL_RUN
from tests.victims import Victim, Zygote, catches, waited_for
from utils.locks import folder_lock

COMMON = ("--anno_path=anno", "--num_workers=0", "--device=cpu")
PREPARE = ("--phase=prepare", "--test_per_category=1", *COMMON)
TEST = ("--phase=test", "--save_path=run", "--hash_bits", *COMMON)
INDEX = ("--phase=index", "--save_path=run", "--hash_bits=8", *COMMON)


@dataclass(frozen=True)
class Work:
    """A command, below which folders it writes, and how often it is killed."""

    arguments: tuple[str, ...]
    made: tuple[str, ...]
    times: int = 50


WORKS = {
    "demo set": Work((*PREPARE, "--dataset=demo"), ("datasets/data/demo", "anno")),
    "lists": Work((*PREPARE, "--dataset=tiny"), ("anno",)),
    "features": Work(TEST, ("logs/run/vec", "logs/run/log")),
    "cached images": Work((*TEST, "--cache_images", "--num_workers=1"), ("datasets/cache", "logs/run/vec")),
    "index flat": Work(INDEX, ("logs/run/index",), 10),
    "index binary": Work((*INDEX, "--index=binary"), ("logs/run/index",), 10),
    "index hnsw": Work((*INDEX, "--index=hnsw"), ("logs/run/index",), 15),
    "index of a folder": Work((*INDEX, "--index=hnsw", "--gallery=mine"), ("logs/run/index",), 15),
}


def temporaries(home: Path) -> list[Path]:
    """What only a process at work may have: half-written files, locks, the place where the demo is drawn."""
    found = []
    for folder, folders, files in os.walk(home):
        found += [Path(folder, name) for name in (*folders, *files) if name.startswith(".")]
    return found


def half_written(home: Path) -> set[Path]:
    return {path for path in temporaries(home) if not path.name.endswith(".lock")}


def outcome(home: Path, work: Work) -> dict[str, str]:
    """Path -> SHA-256 of all files that were made."""
    return {
        str(path.relative_to(home)): hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in work.made
        for path in sorted((home / folder).rglob("*"))
        if path.is_file() and path.parent.name != "log"  # pictures and figures of these: the features tell
    }


def forget(home: Path, work: Work) -> None:
    for folder in work.made:
        shutil.rmtree(home / folder, ignore_errors=True)


def strike(
    victim: Victim, home: Path, rng: random.Random, seconds: float, number: int, *, group: bool
) -> bool:
    """Send the signal at a random moment, every other time when a file is being written; whether one was."""
    before = half_written(home)  # of one that was killed
    if rng.random() < 0.5:
        seen: set[Path] = set()
        wanted = rng.randint(1, 6)

        def writing() -> bool:
            seen.update(half_written(home) - before)
            return len(seen) >= wanted

        waited_for(writing, victim)
    else:
        end = time.monotonic() + rng.uniform(0, seconds)
        waited_for(lambda: time.monotonic() > end, victim)
    victim.kill(number, group=group)
    victim.wait()
    return bool(half_written(home) - before)


@pytest.fixture
def home(trained: Path, request: pytest.FixtureRequest) -> Path:
    """A trained run; a folder of photos beside its data set."""
    pytest.importorskip("faiss")
    shutil.copytree("datasets/data/tiny/photos", "mine")
    forget(trained, request.getfixturevalue("work"))
    return trained


@pytest.fixture
def work(request: pytest.FixtureRequest) -> Work:
    return WORKS[request.param]


def done(zygote: Zygote, home: Path, work: Work) -> dict[str, str]:
    """Give the command and let it end: what it made."""
    victim = zygote.run(home, *work.arguments)
    if "already exist; --force" in victim.text():  # the lists were whole when it was killed
        assert all(path.suffix == ".lock" for path in temporaries(home))
    else:
        assert victim.status == 0, victim.text()
        assert not temporaries(home)
    return outcome(home, work)


@pytest.mark.long
@pytest.mark.parametrize("work", WORKS, indirect=True)
def test_what_is_killed_goes_on(
    home: Path, work: Work, zygote: Zygote, ledger: Callable, request: pytest.FixtureRequest
) -> None:
    times = work.times
    rng = random.Random(times)
    start = time.monotonic()
    wanted = done(zygote, home, work)
    seconds = time.monotonic() - start
    assert wanted
    kills = inside = 0
    while kills < times:
        forget(home, work)
        victim = zygote.start(home, *work.arguments)
        inside += strike(victim, home, rng, seconds, signal.SIGKILL, group=rng.random() < 0.5)
        kills += victim.status == -signal.SIGKILL
        assert victim.status in (0, -signal.SIGKILL), victim.text()
        assert done(zygote, home, work) == wanted
    name = request.node.callspec.params["work"]
    ledger(
        1,
        f"{name}: SIGKILL at random moments, {inside} of them with a file half written",
        times=times,
        outcome="the same command goes on; every file, but those below log/ that are made of them, equal bit "
        "for bit to an uninterrupted run's",
    )


@pytest.mark.long
@pytest.mark.parametrize("work", WORKS, indirect=True)
def test_a_signal_leaves_nothing_half_written(
    home: Path, work: Work, zygote: Zygote, ledger: Callable, request: pytest.FixtureRequest
) -> None:
    times = work.times // 5
    rng = random.Random(times)
    start = time.monotonic()
    wanted = done(zygote, home, work)
    seconds = time.monotonic() - start
    signals = 0
    while signals < times:
        forget(home, work)
        number = (signal.SIGINT, signal.SIGTERM)[signals % 2]
        victim = zygote.start(home, *work.arguments)
        waited_for(lambda: catches(victim, signal.SIGTERM), victim)  # noqa: B023
        strike(victim, home, rng, seconds, number, group=rng.random() < 0.5)
        assert victim.status in (0, 128 + number) and "Traceback" not in victim.text(), victim.text()
        assert not half_written(home)
        # in the microseconds between making a lock and minding it: of nobody, and the next one takes it
        assert not any(path.read_text() for path in temporaries(home))
        signals += victim.status != 0
        assert done(zygote, home, work) == wanted
    name = request.node.callspec.params["work"]
    ledger(
        1,
        f"{name}: SIGINT or SIGTERM at random moments",
        times=times,
        outcome="exit status 130 or 143, no traceback, nothing half written; the same command goes on",
    )


REPRODUCE = (
    "--phase=reproduce",
    "--table=mirror",
    *SMALL_RUN[:-1],
    "--save_path=table",
    "--seeds=1",
    "--model_save_step=1",
    "--dataset=tiny",
    *COMMON,
)


def figures(home: Path) -> tuple[str, str]:
    folder = home / "logs/table/tables"
    return (folder / "mirror.md").read_text(), (folder / "mirror.csv").read_text()


@pytest.mark.long
def test_a_table_that_is_killed_goes_on(
    prepared: Path, tmp_path: Path, zygote: Zygote, ledger: Callable
) -> None:
    times = 50
    rng = random.Random(times)
    start = time.monotonic()
    whole = zygote.run(tmp_path, *REPRODUCE)
    seconds = time.monotonic() - start
    assert whole.status == 0, whole.text()
    wanted, victim = figures(tmp_path), whole
    kills, ended = 0, 0
    while kills < times:
        if victim.status == 0:
            shutil.rmtree("logs")
        victim = zygote.start(tmp_path, *REPRODUCE)
        strike(victim, tmp_path, rng, seconds / 2, signal.SIGKILL, group=rng.random() < 0.5)
        assert victim.status in (0, -signal.SIGKILL), victim.text()
        kills += victim.status != 0
        ended += victim.status == 0
        assert victim.status or figures(tmp_path) == wanted
    victim = zygote.run(tmp_path, *REPRODUCE)
    assert victim.status == 0, victim.text()
    assert figures(tmp_path) == wanted and not temporaries(tmp_path)
    ledger(
        1,
        "a table of two tests, reproduced: SIGKILL at random moments, one after the other",
        times=times,
        outcome=f"the same command goes on; {ended + 1} ran to the end, with the same results",
    )


def test_a_photo_list_without_its_sketch_list_is_taken_for_half_a_pair(prepared: Path, command) -> None:
    sketches, photos = Path("anno/tiny_sketch.json"), Path("anno/tiny_photo.json")
    wanted = sketches.read_bytes(), photos.read_bytes()
    sketches.unlink()
    (photos.parent / ".tiny_sketch.json.123.tmp").write_text("half")
    (photos.parent / ".other_sketch.json.123.tmp").write_text("of another command, perhaps at work")
    assert command("prepare", "--test_per_category=2")[0] == 0
    assert (sketches.read_bytes(), photos.read_bytes()) == wanted
    assert sorted(path.name for path in photos.parent.iterdir()) == [
        ".other_sketch.json.123.tmp",
        "tiny_options.json",
        photos.name,
        sketches.name,
    ]
    sketches.unlink()
    photos.write_text(json.dumps({"train": [], "test": []}))
    status, _, errors = command("prepare", "--test_per_category=2")
    assert (
        status == 2
        and f"{photos} already exists and was made with other options; --force writes new lists" in errors
    )
    assert not sketches.exists()
    assert command("prepare", "--test_per_category=2", "--force")[0] == 0
    assert (sketches.read_bytes(), photos.read_bytes()) == wanted


def test_two_that_make_lists_of_one_data_set_at_once(prepared: Path, command) -> None:
    with folder_lock(Path("anno"), ".tiny.lock"):
        status, _, errors = command("prepare", "--force")
        assert status == 2 and f"error: anno is in use by process {os.getpid()} on " in errors
    with folder_lock(Path("anno"), ".other.lock"):
        assert command("prepare", "--force", "--test_per_category=2")[0] == 0


def test_the_folder_of_a_page_that_was_killed_goes_and_that_of_one_at_work_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    strange = tmp_path / "drawings-of-mine"  # without a lock: not of this program
    strange.mkdir()

    def page() -> tuple[int, Path]:
        """A process that has a folder and sleeps."""
        before = set(tmp_path.iterdir())
        process = os.fork()
        if not process:
            try:
                with page_folder() as folder:
                    (folder / "drawing.png").touch()
                    time.sleep(60)
            finally:
                os._exit(1)  # whatever happens, it is not to go on as pytest
        end = time.monotonic() + 30
        while time.monotonic() < end:
            made = {path.parents[1] for path in tmp_path.glob("drawings-*/files/drawing.png")} - before
            if made:
                return process, made.pop()
            time.sleep(0.01)
        raise TimeoutError

    killed, left = page()
    os.kill(killed, signal.SIGKILL)
    os.waitpid(killed, 0)
    assert left.exists()
    alive, used = page()
    try:
        with page_folder() as folder:
            assert not left.exists() and used.exists() and strange.exists()
            assert folder.is_dir()
        assert {path.name for path in tmp_path.iterdir()} == {used.name, strange.name}
    finally:
        os.kill(alive, signal.SIGKILL)
        os.waitpid(alive, 0)
