"""The command line: options of the published program, clear refusals, nothing done at import."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import main
from options.declarations import OPTIONS
from options.phases import PHASES

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
        (["--phase=train", "--num_steps=many"], "'many' is not an integer of 1 or more"),
        (["--phase=train", "--margn=4"], "no option --margn; did you mean --margin?"),
        (["--phase=tset"], "did you mean test?"),
        (["--network=resnet81"], "did you mean resnet18?"),
        (["--port=80"], "--port has no meaning for --phase=train, only for serve"),
        (["sketch.png"], "'sketch.png' does not belong to an option"),
        (["--lr"], "--lr: expected one argument"),
        (["--lr=0"], "--lr: 0 must be above 0"),
        (["--lr=nan"], "--lr: nan is out of range"),
        (["--device=gpu"], "'gpu' is not auto, cpu, cuda or cuda:N"),
        (["--margin=0.5"], "--margin 0.5 is out of range for mems: 1 or more"),
        (["--loss_type=lmcl", "--margin=2"], "--margin 2 is out of range for cosface: 0 to 1"),
        (["--loss_type=softmax", "--margin=2"], "--margin has no meaning for --loss_type=softmax"),
        (
            ["--phase=prepare", "--class_list=nothing.txt"],
            "cannot read --class_list nothing.txt",
        ),
        (
            ["--phase=search", "--query=nothing.png", "--gallery=."],
            "no file or folder nothing.png",
        ),
        (["--backbone_weights=nothing.pth"], "--backbone_weights: no such file: nothing.pth"),
        (["--data_path=nowhere"], "no folder nowhere/TUBerlin; put the data set there, or name it"),
        (["--phase=test", "--save_path=nothing"], "there is no run"),
        (["@nothing.args"], "cannot read options from nothing.args: No such file"),
        (["--phase=train", "--batch=4"], "--batch"),  # abbreviations would change meaning with new options
    ],
)
def test_bad_options_are_refused(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main.main(arguments) == 2
    output = capsys.readouterr()
    assert message in output.err and output.err.startswith("error: ")
    assert len(output.err.splitlines()) == 1 and not output.out


def show_help(*arguments: str) -> str:
    return subprocess.run(
        [sys.executable, PROJECT / "main.py", *arguments, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={"COLUMNS": "80"},
    ).stdout


def test_help_names_all_phases_shows_groups_and_defaults_and_fits_80_columns() -> None:
    shown = show_help()
    assert all(f"  {name:<10} {phase.purpose}" in shown for name, phase in PHASES.items())
    for group in ("run:", "data:", "network:", "loss:", "train:", "test:"):
        assert f"\n{group}" in shown
    assert "(default: 200000)" in shown and "(default: None)" not in shown
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("phase", PHASES)
def test_the_help_of_a_phase_shows_its_own_options_only(phase: str) -> None:
    shown = show_help(f"--phase={phase}")
    assert PHASES[phase].purpose in shown
    options = set(re.findall(r"^  --(?:no-)?(\w+)", shown, re.MULTILINE))
    own = {each.name for each in OPTIONS.values() if phase in each.shown}
    assert options | {"phase"} == own | {"version"}
    assert max(map(len, shown.splitlines())) <= 80


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main.main(["--version"])
    assert stop.value.code == 0
    (version,) = re.findall(r'^version = "(.+)"', (PROJECT / "pyproject.toml").read_text(), re.MULTILINE)
    assert capsys.readouterr().out.startswith(f"dase-mems {version} (commit ")
    assert f"version: {version}\n" in (PROJECT / "CITATION.cff").read_text().replace('"', "")


def test_a_refused_option_is_refused_before_torch_is_loaded(tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(PROJECT)!r}); import main\n"
        "assert main.main(['--phase=test', '--amp=bf16']) == 2\n"
        "assert main.main(['--phase=train', '--dataset=../x']) == 2\n"
        "assert main.main(['--phase=test', '--save_path=nothing']) == 2\n"
        "assert main.main(['--phase=train', '--data_path=nowhere']) == 2\n"
        "assert main.main(['--margin=0.5']) == main.main(['--lr=0']) == main.main(['--device=gpu']) == 2\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


def test_a_machine_without_the_packages_is_told_what_to_do(tmp_path: Path) -> None:
    """Without site-packages there is no torch."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-S", str(PROJECT / "main.py"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)

    done = run("--data_path=.")
    assert done.returncode == 2 and "no folder TUBerlin" in done.stderr
    (tmp_path / "TUBerlin").mkdir()
    done = run("--data_path=.")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "is not installed; install what the program needs: make setup" in done.stderr
    done = run("--version")
    assert done.returncode == 0 and done.stdout.endswith("torch not installed\n")


def test_import_and_parsing_load_no_torch_and_touch_no_file(tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(PROJECT)!r}); import main; main.parse(['--phase=train'])\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert list(tmp_path.iterdir()) == []
