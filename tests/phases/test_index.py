"""--phase=index: indices built ahead of searches, and all indices compared on the test set."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from phases.search.searcher import open_searcher
from tests.phases.search.test_gallery import COMMON, features_name
from utils.errors import UserError
from utils.locks import folder_lock


def test_a_later_search_builds_nothing(trained: Path, command) -> None:
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
def test_a_damaged_index_is_rebuilt(trained: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    if name == "hnsw":
        pytest.importorskip("faiss")
    query = Path("datasets/data/tiny/sketches/cat/0.png")
    expected = open_searcher("run", index=name, hash_bits=[8], **COMMON).search(query)
    paths = [path for path in Path("logs/run/index/dataset").iterdir() if name in path.name]
    assert paths
    for path in paths:
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        caplog.clear()
        assert open_searcher("run", index=name, hash_bits=[8], **COMMON).search(query) == expected
        assert caplog.text.count("cannot be used") == 1
        assert path.read_bytes() == content


def test_an_index_of_an_earlier_gallery_is_removed(trained: Path, command) -> None:
    pytest.importorskip("faiss")
    Path("datasets/data/tiny/photos").rename("mine")
    arguments = ["--save_path=run", "--gallery=mine", "--index=hnsw"]
    assert command("index", *arguments)[0] == 0
    Path("mine/cat/0.png").unlink()
    assert command("index", *arguments)[0] == 0
    (folder,) = Path("logs/run/index").iterdir()
    names = sorted(path.name for path in folder.iterdir())
    features = features_name(folder)
    index = f"{features}.hnsw-seed0-euclidean-2"
    assert names == [features, index, f"{index}.sha256", "gallery.json"]


def test_all_indices_compared(trained: Path, command) -> None:
    pytest.importorskip("faiss")
    result = json.loads(Path("logs/run/log/result.json").read_text())[0]
    status, output, errors = command("index", "--save_path=run", "--evaluate", "--hash_bits", "4", "8")
    assert status == 0, errors
    assert "ivfpq is left out: --index=ivfpq learns from 256 features" in output
    record = json.loads(Path("logs/run/index/evaluation.json").read_text())
    rows = record["indices"]
    assert list(rows) == ["flat", "hnsw", "binary, 4 bits", "binary, 8 bits"]
    assert set(record["definitions"]) == {*rows["flat"], "chance"}
    assert record["chance"]["MAP"] == result["chance"]["MAP"]
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


def test_one_process_at_a_time_builds_an_index(trained: Path) -> None:
    """Else the other would remove its half-written file as one left by a killed process."""
    searcher = open_searcher("run", **COMMON)
    folder = searcher.gallery.path.parent
    leftover = folder / ".features.1.npy.binary.1.tmp"
    leftover.write_bytes(b"half")
    with folder_lock(folder), pytest.raises(UserError, match="is in use by process"):
        searcher.get_index("binary")
    assert leftover.exists()
    searcher.get_index("binary")
    assert not leftover.exists()


def test_no_index_is_built_over_a_gallery_that_has_changed_meanwhile(trained: Path) -> None:
    shutil.copytree("datasets/data/tiny/photos", "mine")
    first = open_searcher("run", "mine", **COMMON)
    Path("mine/cat/0.png").unlink()
    open_searcher("run", "mine", **COMMON)
    with pytest.raises(UserError, match="another process has changed the index"):
        first.get_index("binary")
    assert (
        len(first.search("datasets/data/tiny/sketches/cat/0.png", 20)) == 9
    )  # its own features are still whole
