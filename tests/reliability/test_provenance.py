"""Every kind of result says with which options, seed, versions, revision and machine it was made."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from phases import train
from run import provenance
from run.config import PART_OF
from tests.conftest import SMALL_RUN
from utils import revision as revisions
from utils.errors import Diverged
from utils.hardware import describe_machine, get_machine_info

Command = Callable[..., tuple[int, str, str]]
RUN = Path("logs/run")
SEARCHED = "datasets/data/tiny/sketches/cat/3.png"


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def checkpoint(command: Command) -> dict[str, Any]:
    return torch.load(RUN / "model/checkpoint-4.pt", weights_only=True)


def of_a_test(command: Command) -> dict[str, Any]:
    assert command("test", "--save_path=run", "--seed=7")[0] == 0
    return read(RUN / "log/result.json")[0]


def searched(command: Command) -> dict[str, Any]:
    assert command("search", "--save_path=run", "--query", SEARCHED)[0] == 0
    return read(RUN / "search/results.json")


def indexed(command: Command) -> dict[str, Any]:
    assert command("index", "--save_path=run", "--evaluate")[0] == 0
    return read(RUN / "index/evaluation.json")


def reported(command: Command) -> dict[str, Any]:
    assert command("report", "--save_path=run")[0] == 0
    record = read(RUN / "report/report.json")
    page = (RUN / "report/index.html").read_text(encoding="utf-8")
    assert record["revision"] in page and record["training_machine"] == get_machine_info()
    assert page.count(describe_machine(get_machine_info())) == 2, "trained and tested on"
    return record


def not_finite(command: Command) -> dict[str, Any]:
    arguments = [*SMALL_RUN[:-1], "--save_path=wild", "--lr=1e30"]
    assert command("train", *arguments)[0] == 2
    return read(Path("logs/wild/log/not_finite.json"))


def table(command: Command) -> dict[str, Any]:
    diverged(command)
    return read(Path("logs/table/tables/attention.json"))


def diverged(command: Command) -> dict[str, Any]:
    def diverging(config: Any) -> int:
        raise Diverged("the loss became nan")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "train_and_test", diverging)
        arguments = ["--table=attention", "--save_path=table", "--seeds=1"]
        assert command("reproduce", *SMALL_RUN[:-1], *arguments)[0] == 0
    return read(next(Path("logs/table").glob("*/seed-0/log/diverged.json")))


def exported(command: Command, form: str) -> Path:
    assert command("export", "--save_path=run", f"--format={form}")[0] == 0
    return RUN / "export" / form


def safetensors(command: Command) -> dict[str, Any]:
    opened = pytest.importorskip("safetensors").safe_open
    with opened(exported(command, "safetensors") / "model.safetensors", "pt") as file:
        return plain(file.metadata())


def torchscript(command: Command) -> dict[str, Any]:
    extra = {"about.json": ""}
    torch.jit.load(str(exported(command, "torchscript") / "photo.pt"), _extra_files=extra)
    return plain(json.loads(extra["about.json"]))


def onnx(command: Command) -> dict[str, Any]:
    model = pytest.importorskip("onnx").load(exported(command, "onnx") / "sketch.onnx")
    return plain({each.key: each.value for each in model.metadata_props})


def plain(metadata: dict[str, str]) -> dict[str, Any]:
    """What an exported file says of itself; it has strings alone, and no folders of the machine."""
    parsed = {
        name: json.loads(metadata[name]) for name in ("options", "seed", "versions", "machine", "training")
    }
    training = parsed["training"]
    assert training["options"]["num_steps"] == 4 and training["versions"] == provenance.versions()
    assert training["revision"] == provenance.revision() and training["machine"] == get_machine_info()
    assert not [value for value in parsed["options"].values() if "/" in str(value)]
    return {**metadata, **parsed}


KINDS = [
    checkpoint,
    of_a_test,
    searched,
    indexed,
    reported,
    table,
    diverged,
    not_finite,
    safetensors,
    torchscript,
    onnx,
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_result_says_what_it_was_made_with(trained: Path, command: Command, kind: Callable) -> None:
    record = kind(command)
    names = {"save_path", "seed", *PART_OF}
    assert names <= record["options"].keys(), names - record["options"].keys()
    assert record["seed"] == record["options"]["seed"] == (7 if kind is of_a_test else 0)
    assert record["versions"] == provenance.versions()
    assert record["revision"] == provenance.revision()
    assert record["machine"] == get_machine_info() and record["machine"]["threads"] == torch.get_num_threads()


def test_a_comparison_and_a_model_card_say_it_too(trained: Path, command: Command) -> None:
    (trained / "logs/other").symlink_to(trained / "logs/run")
    assert command("report", "--save_path", "run", "other")[0] == 0
    folder = RUN / "report/compared-with-other"
    for record in read(folder / "report.json")["runs"].values():
        assert record["revision"] == revisions.revision() and record["seed"] == 0
    assert revisions.revision() in (folder / "index.html").read_text(encoding="utf-8")
    card = (exported(command, "torchscript") / "model_card.md").read_text(encoding="utf-8")
    assert card.count(f"revision `{revisions.revision()}` of the program") == 2
    options = json.loads(card.partition("```json\n")[2].partition("\n```")[0])
    state = checkpoint(command)
    assert options == provenance.strip_folders(state["options"]) and str(trained) not in card


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is taken for the program's own: it has one file."""
    folder = tmp_path / "above" / "program"
    folder.mkdir(parents=True)
    (folder / "main.py").write_text("pass\n")
    monkeypatch.setattr(revisions, "PROJECT", folder)
    monkeypatch.setattr(revisions, "revision", revisions.revision.__wrapped__)  # asked anew
    return folder


def committed(folder: Path) -> str:
    """Make `folder` a repository with a commit of all in it; returns that commit."""

    def git(*arguments: str) -> str:
        who = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.com"]
        try:
            done = subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, check=True)
        except FileNotFoundError:
            pytest.skip("no git")
        return done.stdout.decode().strip()

    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message=all")
    return git("rev-parse", "HEAD")


def test_the_revision_is_the_commit_and_whether_files_differ(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = committed(program)
    assert revisions.revision() == commit
    (program / "new.txt").touch()  # logs and data lie there too
    assert revisions.revision() == commit
    monkeypatch.setenv("GIT_DIR", str(program / "elsewhere"))  # as in a hook of git
    assert revisions.revision() == commit
    (program / "main.py").write_text("print()\n")
    assert revisions.revision() == f"{commit}+changes"


def test_a_copy_inside_another_repository_has_none(program: Path) -> None:
    assert revisions.revision() == "unknown"
    committed(program.parent)
    assert revisions.revision() == "unknown"


@pytest.mark.parametrize("script", [None, "#!/bin/sh\nexec sleep 60\n", "#!/bin/sh\nexit 3\n"])
def test_no_git_or_one_that_does_not_answer_is_no_error(
    program: Path, monkeypatch: pytest.MonkeyPatch, script: str | None
) -> None:
    committed(program)
    tools = program / "tools"
    tools.mkdir()
    if script is not None:
        (tools / "git").write_text(script)
        (tools / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin" if script else str(tools))
    monkeypatch.setattr(revisions, "GIT_TIMEOUT", 0.2)
    assert revisions.revision() == "unknown"
