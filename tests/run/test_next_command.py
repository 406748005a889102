"""What a phase tells its user to type next, taken out of its output and typed."""

import os
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import main
from options.check import check_options
from options.parser import parse
from phases.report import LETTERS
from retrieval import hashing
from run.next_command import MAX_COMPARED, format_command, quote_word
from tests.conftest import SMALL_RUN, draw_tree
from utils import checkpoint_files
from utils.files import PROJECT

Type = Callable[..., tuple[int, str, str]]
SIZES = [each for each in SMALL_RUN if not each.startswith("--save_path")]


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str]) -> Type:
    """Runs a printed command line in this process, with `more` behind it."""

    def call(line: str, *more: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main.main([*arguments_of(line), *more])
        output = capsys.readouterr()
        return status, output.out, output.err

    return call


def arguments_of(line: str) -> list[str]:
    _, program, *arguments = shlex.split(line)
    assert Path(program).samefile(PROJECT / "main.py")
    return arguments


def next_of(output: str) -> str:
    """The one command that is named as the next, at the end of the output."""
    (line,) = (each for each in output.splitlines() if each.startswith("next: "))
    last = [each for each in output.splitlines() if not each.startswith("or: ")][-1]
    assert last == line
    return line.removeprefix("next: ")


def is_accepted(line: str, phase: str) -> bool:
    options = parse(arguments_of(line))
    check_options(options)
    return options.phase == phase


def test_from_prepare_to_a_page_by_what_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], typed: Type
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hashing, "FIT_STEPS", 10)
    draw_tree(tmp_path / "it's here/ti ny")
    arguments = ["--dataset=ti ny", "--data_path=it's here", "--anno_path=my lists", "--num_workers=0"]
    assert main.main(["--phase=prepare", *arguments, "--test_per_category=2"]) == 0
    line = next_of(capsys.readouterr().out)
    assert "--phase=train --dataset='ti ny' --save_path='ti ny'" in line
    status, output, errors = typed(line, *SIZES, "--num_workers=0", "--device=cpu")
    assert status == 0, errors
    other = next(each for each in output.splitlines() if each.startswith("or:"))
    assert is_accepted(other.removeprefix("or:"), "report")
    status, output, errors = typed(next_of(output), "--num_workers=0")
    assert status == 0, errors
    assert "rank" in output and is_accepted(next_of(output), "serve")


def test_a_run_that_is_there_is_not_continued_with_new_lists(prepared: Path, command: Type) -> None:
    Path("logs/tiny/model").mkdir(parents=True)
    status, output, _ = command("prepare", "--test_per_category=1", "--force")
    assert status == 0 and "--save_path=tiny-2" in next_of(output)


def test_the_demo_is_trained_as_by_make(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Type
) -> None:
    monkeypatch.chdir(tmp_path)
    draw_tree(tmp_path / "datasets/data/demo")
    _, output, _ = command("prepare", "--dataset=demo", "--test_per_category=2")
    options = parse(arguments_of(next_of(output)))
    assert (options.phase, options.save_path, options.dataset) == ("train", "demo", "demo")
    assert (options.network, options.num_steps) == ("efficientnet_lite0", 250)


def test_from_test_to_a_use_of_the_export(trained: Path, command: Type, typed: Type) -> None:
    given = ["--save_path=run", "--pretrained_model=2", "--mirror=off", "--hash_bits=4"]
    status, output, errors = command("test", *given)
    assert status == 0, errors
    line = next_of(output)
    assert "--pretrained_model=2 " in line and "--mirror=off" in line
    status, output, errors = typed(line)
    assert status == 0, errors
    assert "report of step 2 of logs/run, tested on tiny (6 sketches against 9 photos)" in output
    line = next_of(output)
    assert "--phase=export" in line and "--pretrained_model=2" in line
    status, output, errors = typed(line, "--format=torchscript")
    assert status == 0, errors
    assert "exporting step 2 of logs/run, trained on tiny, as torchscript" in output
    assert rows_printed(next_of(output)) == 3


def test_a_file_of_weights_is_used_with_the_modules_of_this_program(
    trained: Path, command: Type, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, output, errors = command("export", "--save_path=run", "--format=safetensors")
    assert status == 0, errors
    modules, _, *arguments = shlex.split(next_of(output))
    assert modules == f"PYTHONPATH={PROJECT}"
    monkeypatch.setattr(sys, "argv", arguments)  # here, because the network is one of the tests
    runpy.run_path(arguments[0], run_name="__main__")
    assert len(capsys.readouterr().out.splitlines()) == 3


def rows_printed(line: str) -> int:
    """How many photos a use of the export ranks, called as a shell calls it."""
    done = subprocess.run(line, shell=True, capture_output=True, text=True, check=True)
    return len(done.stdout.splitlines())


def test_an_export_without_its_data_names_no_files(trained: Path, command: Type) -> None:
    Path("datasets").rename("elsewhere")
    status, output, errors = command("export", "--save_path=run", "--format=safetensors")
    assert status == 0, errors
    assert "next: " not in output and output.splitlines()[-1].endswith("DRAWING PHOTO PHOTO...")


def test_a_published_pair_is_tested_by_what_its_export_prints(
    trained: Path, command: Type, typed: Type
) -> None:
    status, output, errors = command("export", "--save_path=run")
    assert status == 0, errors
    status, output, errors = typed(next_of(output), "--num_workers=0")
    assert status == 0, errors
    assert checkpoint_files.saved_pairs(Path("logs/run/published/model"))
    assert "--save_path=run/published" in next_of(output)
    assert "--dataset=tiny" in next_of(output), "a pair does not say it"


def test_an_index_is_searched(trained: Path, command: Type, typed: Type) -> None:
    Path("my photos").mkdir()
    for number, photo in enumerate(sorted(Path("datasets/data/tiny/photos").rglob("*.png"))):
        os.link(photo, f"my photos/{number}.png")
    status, output, errors = command("index", "--save_path=run", "--gallery=my photos")
    assert status == 0, errors
    status, output, errors = typed(next_of(output))
    assert status == 0, errors
    assert "9 photos in" in output and "--gallery='my photos'" in next_of(output)


def test_an_index_of_the_network_that_comes_along_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    draw_tree(tmp_path / "set")
    assert main.main(["--phase=index", "--device=cpu", "--num_workers=0", "--gallery=set/photos/cat"]) == 0
    line = next_of(capsys.readouterr().out)
    assert is_accepted(line, "serve")
    assert "--gallery=set/photos/cat" in line and "--save_path" not in line


def test_nothing_follows_an_error(trained: Path, command: Type) -> None:
    Path("empty.png").write_bytes(b"")
    query = ["--query", "empty.png", "datasets/data/tiny/sketches/cat/0.png"]
    status, output, errors = command("search", "--save_path=run", *query)
    assert status == 2 and "next: " not in output + errors
    status, output, errors = command("test", "--save_path=none")
    assert status == 2 and "next: " not in output + errors


def test_what_an_error_tells_to_type_can_be_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Type
) -> None:
    monkeypatch.chdir(tmp_path)
    draw_tree(tmp_path / "my data/tiny")
    status, _, errors = command("train", "--data_path=my data")
    assert status == 2
    _, _, *arguments = shlex.split(errors.partition("make it with: ")[2].partition(", or put")[0])
    assert main.main([*arguments, "--test_per_category=2", "--num_workers=0"]) == 0
    assert Path("anno/tiny_sketch.json").is_file()


def test_a_shell_reads_every_value_as_it_was() -> None:
    values = ["a b", "it's", "$HOME", "tab\there", "\udcff byte", "line\nbreak", "ü", "-v", ""]
    for value in values:
        done = subprocess.run(
            ["bash", "-c", f"printf %s {quote_word(value)}"], capture_output=True, check=True
        )
        assert os.fsdecode(done.stdout) == value
        assert quote_word(value).isprintable()


def test_lists_and_switches() -> None:
    values = {"normalize": False, "amp": None, "hash_bits": [32, 64], "query": [Path("-x y")], "open": True}
    values["deterministic"] = True
    words = format_command("search", values).partition("--phase=")[2]
    assert (
        words == "search --no-normalize --hash_bits 32 64 --query='-x y' --deterministic"
    )  # serve alone takes --open


def test_as_many_runs_are_named_as_a_report_takes() -> None:
    assert len(LETTERS) == MAX_COMPARED


def test_the_python_at_hand_is_called_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    python = Path(sys.executable).parent / "python"
    monkeypatch.setenv("PATH", str(python.parent))
    assert format_command("test", {}) == "python main.py --phase=test"
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(PROJECT / ".venv/bin/python3"))
    assert format_command("test", {}) == ".venv/bin/python3 main.py --phase=test"
