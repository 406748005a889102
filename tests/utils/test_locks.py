"""A folder belongs to one process at a time."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from utils.locks import Locked, folder_lock, read_holder, wait_for_folder_lock

HOLDER = """
import sys
import threading
import time
from pathlib import Path
from utils.locks import folder_lock
with folder_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_told_who_holds_it(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout and holder.stdout.readline() == b"held\n"
        with pytest.raises(Locked, match=f"process {holder.pid} on "), folder_lock(folder):
            pass
        holder.kill()  # the system lets go
    with folder_lock(folder):
        assert read_holder(folder / ".lock").startswith(f"process {os.getpid()} on ")
    assert list(folder.iterdir()) == []


def test_a_folder_that_nothing_was_put_in_goes_again(tmp_path: Path) -> None:
    folder = tmp_path / "logs/run"
    with folder_lock(folder):
        pass
    assert list(tmp_path.iterdir()) == []
    with folder_lock(folder):
        (folder / "result").touch()
    assert [path.name for path in folder.iterdir()] == ["result"]


def test_what_was_there_stays_and_an_error_passes(tmp_path: Path) -> None:
    with pytest.raises(ValueError), folder_lock(tmp_path):
        raise ValueError
    assert tmp_path.is_dir() and list(tmp_path.iterdir()) == []


def test_two_things_in_one_folder_are_held_by_their_names(tmp_path: Path) -> None:
    with (
        folder_lock(tmp_path, ".a.lock"),
        folder_lock(tmp_path, ".b.lock"),
        pytest.raises(Locked),
        folder_lock(tmp_path, ".a.lock"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/.lock").symlink_to(precious)
    with pytest.raises(OSError, match="symbolic links"), folder_lock(tmp_path / "run"):
        pass
    assert precious.read_text() == "mine"


def test_who_comes_in_turn_waits(tmp_path: Path) -> None:
    inside = threading.Event()
    order = []

    def hold() -> None:
        with folder_lock(tmp_path):
            inside.set()
            time.sleep(0.2)
            order.append("first")

    other = threading.Thread(target=hold)
    other.start()
    inside.wait()
    with wait_for_folder_lock(tmp_path):
        order.append("second")
    other.join()
    assert order == ["first", "second"]
