"""Files are whole or not there."""

import json
from pathlib import Path

import pytest

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
