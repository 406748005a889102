"""The command line: options of the published program, clear refusals, nothing done at import."""

import subprocess
import sys
from pathlib import Path

import pytest

import main

PROJECT = Path(main.__file__).parent

PUBLISHED_DEFAULTS = {
    "dataset": "TUBerlin",
    "data_path": Path("datasets/data"),
    "image_size": 224,
    "batch_size": 22,
    "num_workers": 4,
    "network": "resnext101",
    "f_dim": 512,
    "loss_type": "mems",
    "test_distance": "euclidean",
    "num_steps": 200_000,
    "annealing_step": 100_000,
    "pretrained_model": -1,
    "save_path": "expr",
    "phase": "train",
    "model_save_step": 20_000,
}

PUBLISHED_COMMANDS = [
    "--save_path=tuberlin-resnext101-mems --phase=train --loss_type=mems --margin=4",
    "--save_path=sketchy-resnext101-mems --phase=train --dataset=sketchy --loss_type=mems --margin=4",
    "--save_path=tuberlin-resnext101-cosface --phase=train --loss_type=cosface --margin=0.35 --scale=32 "
    "--test_distance=angular",
    "--save_path=tuberlin-alexnet-mems --phase=train --network=alexnet --loss_type=mems --margin=2 "
    "--batch_size=400",
]


def test_defaults_are_the_published_ones() -> None:
    options = vars(main.parse([]))
    assert {name: options[name] for name in PUBLISHED_DEFAULTS} == PUBLISHED_DEFAULTS
    assert options["anno_path"] == Path("anno")
    assert (options["lr"], options["seed"], options["device"]) == (1e-4, 0, "auto")
    assert options["margin"] is None and options["scale"] is None  # they depend on loss and network


def test_given_options_are_told_from_defaults() -> None:
    options = main.parse(["--phase=train", "--f_dim=512", "--hash_bits"])
    assert options.given == {"phase", "f_dim", "hash_bits"}
    assert options.hash_bits == []


@pytest.mark.parametrize("command", PUBLISHED_COMMANDS)
def test_published_commands_parse(command: str) -> None:
    assert main.parse(command.split()).phase == "train"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--phase=train", "--network=vgg"], "--network"),
        (["--phase=train", "--loss_type=triplet"], "--loss_type"),
        (["--phase=fly"], "--phase"),
        (["--phase=train", "--image_size=31"], "less than 32"),
        (["--phase=train", "--batch_size=0"], "less than 1"),
        (["--phase=train", "--seed=100000000000000000000"], "is more than"),
        (["--phase=train", "--num_steps=many"], "integer of 1 or more"),
        (["--phase=train", "--margn=4"], "--margn"),
        (["--phase=train", "--batch=4"], "--batch"),  # abbreviations would change meaning with new options
    ],
)
def test_bad_options_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main.main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_help_shows_groups_and_defaults_and_fits_80_columns() -> None:
    found = subprocess.run(
        [sys.executable, PROJECT / "main.py", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={"COLUMNS": "80"},
    ).stdout
    groups = ["run:", "data:", "network:", "loss:", "train:", "test:", "search, index and serve:", "serve:"]
    groups += ["export:", "prepare:", "reproduce"]
    for group in groups:
        assert f"\n{group}" in found
    assert "(default: 200000)" in found and "(default: None)" not in found
    options = found[found.index("\nrun:") :]
    assert max(map(len, options.splitlines())) <= 80


def test_a_refused_option_is_refused_before_torch_is_loaded(tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(PROJECT)!r}); import main\n"
        "assert main.main(['--phase=test', '--amp=bf16']) == 2\n"
        "assert main.main(['--phase=train', '--dataset=../x']) == 2\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


def test_import_and_parsing_load_no_torch_and_touch_no_file(tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(PROJECT)!r}); import main; main.parse(['--phase=train'])\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert list(tmp_path.iterdir()) == []
