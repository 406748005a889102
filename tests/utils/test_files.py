"""Files are whole or not there."""

import errno
import json
from pathlib import Path

import pytest

from utils.errors import refusal_of_the_machine
from utils.files import replacing, write_json, write_text


def test_an_error_keeps_the_old_file_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]
    write_text(path, "new")
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_json_is_plain_and_refuses_nan(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_json(path, {"ä": [1, 2.5]})
    assert json.loads(path.read_text(encoding="utf-8")) == {"ä": [1, 2.5]}
    with pytest.raises(ValueError):
        write_json(path, float("nan"))
    assert json.loads(path.read_text(encoding="utf-8")) == {"ä": [1, 2.5]}


def test_a_full_disk_is_named_by_the_file_that_was_to_be(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    with pytest.raises(OSError) as caught, replacing(path) as temporary:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")  # as write() has it, without a name
    assert caught.value.filename == str(path) and list(tmp_path.iterdir()) == []
    assert refusal_of_the_machine(caught.value) == (f"{path}: No space left on device; make room on the disk")
    assert refusal_of_the_machine(OSError("no number")) is None
