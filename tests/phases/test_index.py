"""--phase=index: what later searches find ready, and all indices compared on the test set."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from phases.search.searcher import open_searcher
from tests.phases.search.test_gallery import COMMON, state_of
from utils.errors import UserError
from utils.locks import folder_lock


def test_a_later_search_finds_everything_ready(trained: Path, command) -> None:
    pytest.importorskip("faiss")
    status, output, errors = command("index", "--save_path=run", "--index=hnsw")
    assert status == 0, errors
    assert "index hnsw of 9 photos in logs/run/index/dataset, for step 4" in output
    before = {path: path.stat().st_mtime_ns for path in Path("logs/run/index/dataset").iterdir()}
    query = "datasets/data/tiny/sketches/cat/0.png"
    status, output, _ = command("search", "--save_path=run", "--index=hnsw", "--query", query)
    assert status == 0 and "building index" not in output and "new or changed" not in output
    assert {path: path.stat().st_mtime_ns for path in Path("logs/run/index/dataset").iterdir()} == before


@pytest.mark.parametrize("name", ["hnsw", "binary"])
def test_a_damaged_index_is_made_anew(trained: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    if name == "hnsw":
        pytest.importorskip("faiss")
    query = Path("datasets/data/tiny/sketches/cat/0.png")
    wanted = open_searcher("run", index=name, hash_bits=[8], **COMMON).search(query)
    kept = [path for path in Path("logs/run/index/dataset").iterdir() if name in path.name]
    assert kept
    for path in kept:
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        caplog.clear()
        assert open_searcher("run", index=name, hash_bits=[8], **COMMON).search(query) == wanted
        assert "cannot be used" in caplog.text
        assert path.read_bytes() == content


def test_what_is_made_from_an_earlier_gallery_is_not_used(trained: Path, command) -> None:
    pytest.importorskip("faiss")
    Path("datasets/data/tiny/photos").rename("mine")
    arguments = ["--save_path=run", "--gallery=mine", "--index=hnsw"]
    assert command("index", *arguments)[0] == 0
    Path("mine/cat/0.png").unlink()
    assert command("index", *arguments)[0] == 0
    (folder,) = Path("logs/run/index").iterdir()
    names = sorted(path.name for path in folder.iterdir())
    state = state_of(folder)
    made = f"{state}.hnsw-seed0-euclidean-2"
    assert names == [state, made, f"{made}.sha256", "gallery.json"]


def test_all_indices_compared(trained: Path, command) -> None:
    pytest.importorskip("faiss")
    result = json.loads(Path("logs/run/log/result.json").read_text())[0]
    status, output, errors = command("index", "--save_path=run", "--evaluate", "--hash_bits", "4", "8")
    assert status == 0, errors
    assert "ivfpq is left out: --index=ivfpq learns from 256 features" in output
    found = json.loads(Path("logs/run/index/evaluation.json").read_text())
    rows = found["indices"]
    assert list(rows) == ["flat", "hnsw", "binary, 4 bits", "binary, 8 bits"]
    assert set(found["definitions"]) == {*rows["flat"], "chance"}
    assert found["chance"]["MAP"] == result["chance"]["MAP"]
    assert rows["flat"]["recall@10"] == 100 and rows["flat"]["bytes per photo"] == 2 * 4 * 8
    for name in ("flat", "hnsw"):  # of nine photos the graph forgets none
        assert np.isclose(rows[name]["MAP"], result["metrics"]["MAP"], atol=1e-9)
    first = result["hash"]["4"]["fits"][0]  # an index has one fit, with the run's seed
    assert np.isclose(rows["binary, 4 bits"]["MAP"], first["MAP"], atol=1e-9)
    assert rows["binary, 8 bits"]["bytes per photo"] == 8
    for name, row in rows.items():
        line = next(line for line in output.splitlines() if line.startswith(name))
        assert f"{row['MAP']:.3f}" in line and row["queries/s"] > 0
    status, _, errors = command("index", "--save_path=run", "--evaluate", "--gallery=datasets")
    assert status == 2 and "leave out --gallery" in errors
    status, _, errors = command("index", "--save_path=run", "--evaluate", "--index=flat")
    assert status == 2 and "leave out --index" in errors


def test_one_process_at_a_time_makes_an_index(trained: Path) -> None:
    """Or the other would take its half-written file for one that a killed process has left."""
    opened = open_searcher("run", **COMMON)
    folder = opened.gallery.path.parent
    leftover = folder / ".features.1.npy.binary.1.tmp"
    leftover.write_bytes(b"half")
    with folder_lock(folder), pytest.raises(UserError, match="is in use by process"):
        opened.get_index("binary")
    assert leftover.exists()
    opened.get_index("binary")
    assert not leftover.exists()


def test_an_index_over_a_gallery_that_has_changed_meanwhile_is_not_made(trained: Path) -> None:
    shutil.copytree("datasets/data/tiny/photos", "mine")
    first = open_searcher("run", "mine", **COMMON)
    Path("mine/cat/0.png").unlink()
    open_searcher("run", "mine", **COMMON)
    with pytest.raises(UserError, match="another process has changed the index"):
        first.get_index("binary")
    assert len(first.search("datasets/data/tiny/sketches/cat/0.png", 20)) == 9  # what it had is still whole
