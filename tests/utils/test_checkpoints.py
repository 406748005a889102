"""Checkpoints: found, read safely, written whole."""

from pathlib import Path

import pytest
import torch

from utils import checkpoint_files, checkpoints
from utils.errors import UserError


def test_the_newest_or_a_named_step_is_found(tmp_path: Path) -> None:
    for step in (20_000, 9, 100_000):
        checkpoints.save(checkpoint_files.checkpoint_path(tmp_path, step), {"step": step})
    (tmp_path / "checkpoint-x.pt").touch()
    (tmp_path / ".checkpoint-200000.pt.17.tmp").touch()
    assert checkpoint_files.saved_steps(tmp_path) == [9, 20_000, 100_000]
    assert checkpoints.load(checkpoints.find(tmp_path))["step"] == 100_000
    assert checkpoints.load(checkpoints.find(tmp_path, 9))["step"] == 9
    with pytest.raises(UserError, match=r"no checkpoint for step 5 in .*; available: 9, 20000, 100000"):
        checkpoints.find(tmp_path, 5)
    with pytest.raises(UserError, match="--phase=train"):
        checkpoints.find(tmp_path / "absent")


class Harmful:
    def __reduce__(self):
        return print, ("this must never run",)


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"step": Harmful()}, tmp_path / "bad.pt")
    with pytest.raises(UserError, match=r"bad\.pt"):
        checkpoints.load(tmp_path / "bad.pt")
    assert "never" not in capsys.readouterr().out


def test_truncated_and_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint-1.pt"
    checkpoints.save(path, {"weights": torch.rand(5000)})
    whole = path.read_bytes()
    for part in range(10):
        path.write_bytes(whole[: len(whole) * part // 10])
        with pytest.raises(UserError, match=r"checkpoint-1\.pt"):
            checkpoints.load(path)
    torch.save([1, 2], path)
    with pytest.raises(UserError, match="holds a list"):
        checkpoints.load(path)
    torch.save({"a": 1}, path)
    with pytest.raises(UserError, match="no entry b, c"):
        checkpoints.load(path, required={"a": int, "b": int, "c": str})
    for entry, expected in (("a", str), ("a", bool)):
        with pytest.raises(UserError, match=f"entry a is of type int, not {expected.__name__}"):
            checkpoints.load(path, required={entry: expected})
    with pytest.raises(UserError, match="no such file"):
        checkpoints.load(tmp_path / "absent.pt")


def test_loading_into_a_module_is_strict(tmp_path: Path) -> None:
    module = torch.nn.Linear(2, 3)
    checkpoints.load_strictly(module, {"weight": torch.ones(3, 2), "bias": torch.ones(3)}, tmp_path)
    assert (module.weight == 1).all()
    for state in ({"weight": torch.ones(3, 2)}, {"weight": torch.ones(4, 2), "bias": torch.ones(3)}):
        with pytest.raises(UserError, match="does not fit a Linear"):
            checkpoints.load_strictly(module, state, tmp_path)


def test_what_is_raised_while_it_saves_is_what_comes_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the loader, for one, whose processes may die just then; not what it saves for."""

    def interrupted(state: object, file: object) -> None:
        try:
            raise RuntimeError("DataLoader worker is killed")
        finally:
            raise RuntimeError("unexpected pos")

    def broken(state: object, file: object) -> None:
        raise RuntimeError("CUDA error")

    for save, message in ((interrupted, "DataLoader worker is killed"), (broken, "CUDA error")):
        monkeypatch.setattr(torch, "save", save)
        try:
            raise UserError("an unreadable image")
        except UserError:
            with pytest.raises(RuntimeError, match=message):
                checkpoints.save(tmp_path / "checkpoint-1.pt", {"step": 1})
    assert not list(tmp_path.iterdir())
