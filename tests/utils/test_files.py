"""Files are whole or not there."""

import errno
import json
import os
from pathlib import Path

import pytest

from utils.errors import describe_os_error
from utils.files import (
    atomic_write,
    read_json,
    remove_stale_temporaries,
    write_json,
    write_json_files,
    write_text,
)


def test_an_error_keeps_the_old_file_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic_write(path) as temporary:
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
    with pytest.raises(OSError) as caught, atomic_write(path) as temporary:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")  # as write() has it, without a name
    assert caught.value.filename == str(path) and list(tmp_path.iterdir()) == []
    assert describe_os_error(caught.value) == (f"{path}: No space left on device; make room on the disk")
    assert describe_os_error(OSError("no number")) is None


def test_leftovers_are_those_of_this_program_and_of_the_names_asked_for(tmp_path: Path) -> None:
    others = {".mine.tmp", "c.tmp", ".swp.x.tmp"}
    for name in (".a.json.12.tmp", ".b.json.13.tmp", *others):
        (tmp_path / name).touch()
    remove_stale_temporaries(tmp_path, "b.json")
    assert {path.name for path in tmp_path.iterdir()} == {".a.json.12.tmp", *others}
    remove_stale_temporaries(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == others


def test_a_link_in_the_place_of_a_temporary_file_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / f".file.txt.{os.getpid()}.tmp").symlink_to(precious)
    write_text(tmp_path / "file.txt", "new")
    assert precious.read_text() == "mine" and (tmp_path / "file.txt").read_text() == "new"


def test_files_that_belong_together_are_never_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    write_json_files({first: 1, second: 2})
    with pytest.raises(ValueError):
        write_json_files({first: 3, second: float("nan")})
    assert (read_json(first), read_json(second)) == (1, 2)
    plain = Path.replace

    def killed(self: Path, target: Path) -> Path:
        if target == first:
            raise KeyboardInterrupt
        return plain(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_json_files({first: 3, second: 4})
    assert not first.exists() and read_json(second) == 4
    assert list(tmp_path.iterdir()) == [second]


@pytest.mark.parametrize("text", ["", "{", "NaN", "[Infinity]", "[" * 100_000, "\0", "\udcff"])
def test_what_is_not_json_is_a_value_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError):
        read_json(path)
