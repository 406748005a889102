"""What surrounds a command: its names, its terminal, its environment. One line, before anything is done."""

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import current_process
from pathlib import Path

import pytest

import main
from phases.search.searcher import open_searcher
from tests.conftest import SMALL_RUN
from utils.errors import UserError

Command = Callable[..., tuple[int, str, str]]
LATIN = os.fsdecode(b"caf\xe9")  # as systems of another encoding wrote names

NOT_UTF8 = {
    "query": ("search", "--save_path=run"),
    "gallery": ("search", "--save_path=run", "--query=datasets"),
    "output": ("search", "--save_path=run", "--query=datasets"),
    "data_path": ("train", *SMALL_RUN),
    "save_path": ("train", *SMALL_RUN[:-1]),
    "class_list": ("prepare",),
    "backbone_weights": ("train", *SMALL_RUN[:-3]),
}


@pytest.mark.parametrize("option", NOT_UTF8)
def test_a_name_that_is_not_utf8_is_refused_at_the_start(
    prepared: Path, command: Command, option: str
) -> None:
    shutil.copytree(prepared, LATIN)
    before = sorted(Path().rglob("*"))
    phase, *arguments = NOT_UTF8[option]
    status, output, errors = command(phase, *arguments, f"--{option}={LATIN}")
    assert (status, output) == (2, "")
    assert errors == (
        f"error: --{option} caf\\xe9 is not UTF-8, so it could not be written into records and plots: "
        "rename the file or folder\n"
    )
    assert sorted(Path().rglob("*")) == before


def test_a_searcher_of_a_name_that_is_not_utf8(tree: Path) -> None:
    with pytest.raises(UserError, match=r"--gallery .* is not UTF-8"):
        open_searcher(gallery=LATIN)


def test_work_in_a_folder_whose_name_is_not_utf8(
    trained: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = trained.rename(trained.with_name(LATIN))
    monkeypatch.chdir(home)
    drawing = "--query=datasets/data/tiny/sketches/cat/0.png"
    for arguments in (
        ("prepare", "--test_per_category=2", "--force"),
        ("search", "--save_path=run", drawing, "--gallery=datasets/data/tiny/photos"),
    ):
        status, _, errors = command(*arguments)
        assert status == 0, errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--query=~nobody-here.png",), "no file or folder ~nobody-here.png; check --query"),
        (("--query=~nobody-here/a.png",), "no file or folder ~nobody-here/a.png; check --query"),
        (("--gallery=~nobody-here",), "no folder ~nobody-here; check its path"),
        (("--output=~nobody-here/x",), "--output ~nobody-here/x: there is no user nobody-here with a home"),
    ],
)
def test_the_home_folder_of_nobody(
    trained: Path, command: Command, arguments: tuple[str, ...], message: str
) -> None:
    drawing = "--query=datasets/data/tiny/sketches/cat/0.png"
    status, _, errors = command("search", "--save_path=run", drawing, *arguments)
    assert status == 2 and message in errors and errors.count("\n") == 1
    assert not list(Path().glob("~*"))


def test_a_drawing_whose_name_begins_as_a_home_folder(trained: Path, command: Command) -> None:
    shutil.copy("datasets/data/tiny/sketches/cat/0.png", "~draft.png")
    status, output, errors = command("search", "--save_path=run", "--query=~draft.png")
    assert status == 0 and "\n~draft.png\n" in output, errors


BY_HAND = {"RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "9"}
VARIABLES = {
    "WORLD_SIZE='' in the environment is not a number of processes": {"WORLD_SIZE": ""},
    "WORLD_SIZE='two' in the environment is not a number of processes": {"WORLD_SIZE": "two"},
    "WORLD_SIZE='0' in the environment is not a number of processes": {"WORLD_SIZE": "0"},
    "WORLD_SIZE=2 is in the environment, but not RANK, LOCAL_RANK, MASTER_ADDR": {"WORLD_SIZE": "2"},
    "WORLD_SIZE=2 is in the environment, but not RANK; ": {**BY_HAND, "WORLD_SIZE": "2", "RANK": ""},
    "MASTER_PORT='x' in the environment is not a port": {**BY_HAND, "WORLD_SIZE": "2", "MASTER_PORT": "x"},
    "RANK='2' in the environment is not a rank of 2 processes": {**BY_HAND, "WORLD_SIZE": "2", "RANK": "2"},
    "RANK='a' in the environment is not a rank of 2 processes": {**BY_HAND, "WORLD_SIZE": "2", "RANK": "a"},
}


@pytest.mark.parametrize("message", VARIABLES)
@pytest.mark.parametrize("phase", ["train", "prepare"])
def test_variables_of_torchrun_that_are_not_its_own(
    prepared: Path, command: Command, monkeypatch: pytest.MonkeyPatch, message: str, phase: str
) -> None:
    for name, value in VARIABLES[message].items():
        monkeypatch.setenv(name, value)
    status, _, errors = command(phase, *(SMALL_RUN if phase == "train" else ["--force"]))
    assert status == 2 and errors.startswith(f"error: {message}") and errors.count("\n") == 1
    assert "unset WORLD_SIZE for a single process" in errors


def test_a_searcher_under_variables_of_torchrun(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(UserError, match="WORLD_SIZE='two' in the environment is not a number of processes"):
        open_searcher("run")


def test_a_world_of_one_is_a_single_process(
    tree: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert command("prepare", "--test_per_category=2")[0] == 0


def test_a_current_folder_that_was_removed(
    tree: Path, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    try:
        status, _, errors = command("test", "--save_path=run")
    finally:
        os.chdir(tmp_path)  # for monkeypatch, which asks where it is
    assert status == 2 and errors == "error: the current folder was removed: change to one that exists\n"


def test_a_folder_for_temporary_files_with_too_long_a_path(
    prepared: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loading processes hand their batches over through a socket there, whose path has 107 bytes at most."""
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    monkeypatch.setitem(vars(current_process())["_config"], "tempdir", str(long))  # as a new process finds it
    status, _, errors = command("train", *SMALL_RUN, "--num_workers=1")
    line = errors.splitlines()[-1]
    assert status == 2 and line.startswith(
        "error: DataLoader workers cannot start: the path of the temporary"
    )
    assert f"{long} is too long for a socket; set TMPDIR to a shorter path" in line


# for the help, argparse itself takes no notice
@pytest.mark.parametrize(("argument", "status"), [("--help", 0), ("--phase=prepare", 141)])
def test_a_pipe_that_nobody_reads_ends_the_program_quietly(tree: Path, argument: str, status: int) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.Popen(
        [sys.executable, main.__file__, argument, "--dataset=tiny", "--test_per_category=2"],
        stdout=writer,
        stderr=subprocess.PIPE,
    )
    os.close(writer)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (status, b"")
    assert not Path("anno").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full, a disk without room")
def test_output_that_cannot_be_written_is_told_once_and_the_work_goes_on(tree: Path) -> None:
    with Path("/dev/full").open("w") as full:
        process = subprocess.run(
            [sys.executable, main.__file__, "--phase=prepare", "--dataset=tiny", "--test_per_category=9"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    first, last = process.stderr.splitlines()
    assert first == "warning: the output cannot be written: No space left on device"
    assert process.returncode == 2 and "has 4 sketches, too few for 9" in last


def test_a_character_that_the_terminal_lacks_is_escaped(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for domain in ("sketches", "photos"):
        (tree / domain / "cat").rename(tree / domain / "café")
    Path("one.txt").write_text("café\n", encoding="utf-8")
    terminal = io.BytesIO()
    arguments = ["--phase=prepare", "--dataset=tiny", "--protocol=zero-shot", "--class_list=one.txt"]
    with monkeypatch.context() as patch:
        # what PYTHONIOENCODING=ascii makes of standard output
        patch.setattr(sys, "stdout", io.TextIOWrapper(terminal, "ascii", "strict", write_through=True))
        assert main.main(arguments) == 0
    lines = terminal.getvalue().decode("ascii").splitlines()
    assert {"unseen: caf\\xe9", "wrote anno/tiny_photo.json: 6 train + 3 test"} <= set(lines)
    assert "sketches/café/0.png" in Path("anno/tiny_sketch.json").read_text(encoding="utf-8")
