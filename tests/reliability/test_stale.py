"""Cached features and indices of something else are recomputed or refused in one line, never used."""

import json
import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from phases.search.searcher import open_searcher
from run import provenance
from tests.phases.search.test_gallery import COMMON
from utils import checkpoints, locks
from utils.locks import folder_lock

RUN, QUERY = Path("logs/run"), "datasets/data/tiny/sketches/cat/0.png"
PHOTO = Path("datasets/data/tiny/photos/cat/1.png")
TEST = ("test", "--save_path=run", "--hash_bits=4")
PAIR = ("test", "--save_path=run/published", "--hash_bits=4", "--image_size=64")  # records no options
OF_PAIR = RUN / "published"


def other_weights() -> None:
    path = RUN / "model/checkpoint-4.pt"
    state = checkpoints.load(path)
    state["network"]["stem.weight"] *= 1.5
    path.unlink()  # it is a link to that of other tests
    checkpoints.save(path, state)


def other_pixels() -> None:
    """As large, and as many."""
    Image.fromarray(np.full((40, 40, 3), 90, np.uint8)).save(PHOTO)


def touched() -> None:
    os.utime(PHOTO)


def other_order() -> None:
    path = Path("anno/tiny_photo.json")
    lists = json.loads(path.read_text())
    lists["test"].reverse()
    path.write_text(json.dumps(lists))


def none() -> None:
    """Options alone."""


def read_metrics(folder: Path) -> list[dict]:
    records = json.loads((folder / "log/result.json").read_text())
    return [{name: each[name] for name in ("distance", "mirror", "metrics", "hash")} for each in records]


def after(command: Callable, folder: Path, *arguments: str) -> tuple[str, list, bytes]:
    """Output, results and cached features of a test."""
    status, output, errors = command(*arguments)
    assert status == 0, errors
    vec = b"".join(path.read_bytes() for path in sorted((folder / "vec").glob("*.npy")))
    return output, read_metrics(folder), vec


@pytest.mark.parametrize(
    ("change", "options", "changed"),
    [
        (none, [], None),
        (none, ["--test_distance=angular", "--mirror=off"], None),
        (none, ["--seed=7", "--hash_bits=8", "--batch_size=3"], None),
        (none, ["--image_size=96"], "image_size"),
        (none, ["--photo_channels=bgr"], "photo_channels"),
        (none, ["--normalize"], "normalize"),
        (none, ["--se_activation=relu"], "se_activation"),
        (other_pixels, [], "files"),
        (touched, [], "files"),
        (other_order, [], "files, lists"),
    ],
)
def test_features_of_a_test_are_those_of_its_options(
    trained: Path, command, change: Callable[[], None], options: list[str], changed: str | None
) -> None:
    """The result with features cached before is the result without cached features."""
    assert command("export", "--save_path=run", "--format=published")[0] == 0
    after(command, OF_PAIR, *PAIR)
    change()
    output, records, vec = after(command, OF_PAIR, *PAIR, *options)
    if changed is None:
        assert "features loaded from" in output
    else:
        assert f"are from other {changed}: recomputing them" in output
    shutil.rmtree(OF_PAIR / "vec")
    (OF_PAIR / "log/result.json").unlink()
    if changed is None and options:  # the record of the first test is there as well
        after(command, OF_PAIR, *PAIR)
    _, fresh, fresh_vec = after(command, OF_PAIR, *PAIR, *options)
    assert vec == fresh_vec
    assert [record for record in records if record in fresh] == fresh


def test_features_of_other_weights_and_versions(trained: Path, command, monkeypatch) -> None:
    before = after(command, RUN, *TEST)[2]
    other_weights()
    output, _, vec = after(command, RUN, *TEST)
    assert "features in logs/run/vec are from other weights: recomputing them" in output and vec != before
    now = provenance.versions()
    monkeypatch.setattr(provenance, "versions", lambda: {**now, "torch": "1.0"})
    output, _, again = after(command, RUN, *TEST)
    assert "features in logs/run/vec are from other versions: recomputing them" in output and again == vec


@pytest.mark.parametrize(
    "options",
    [["--image_size=96"], ["--photo_channels=bgr"], ["--normalize"], ["--se_activation=relu"]],
)
def test_what_a_checkpoint_says_of_itself_is_not_overruled(
    trained: Path, command, options: list[str]
) -> None:
    status, _, errors = command(*TEST, *options)
    assert status == 2 and f"was made with {options[0].partition('=')[0]}=" in errors


@pytest.mark.parametrize("index", ["flat", "hnsw", "binary"])
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"test_distance": "angular"},
        {"mirror": False},
        {"seed": 7},
        {"hash_bits": [16]},
        {"hash_gradient": "identity"},
        {"weights": other_weights},
        {"files": other_pixels},
        {"files": touched},
        {"files": PHOTO.unlink},
    ],
    ids=lambda change: (
        "-".join(f"{name}-{getattr(value, '__name__', value)}" for name, value in change.items()) or "nothing"
    ),
)
def test_an_index_is_that_of_its_options(trained: Path, index: str, change: dict) -> None:
    """The hits with an index cached before are the hits without one."""
    if index == "hnsw":
        pytest.importorskip("faiss")
    shutil.copytree("datasets/data/tiny/photos", "mine")
    common = {**COMMON, "hash_bits": [8], "index": index}

    def search(**options: object) -> list:
        return open_searcher("run", "mine", **{**common, **options}).search(QUERY, 9)

    before = search()
    options = {name: value for name, value in change.items() if not callable(value)}
    here = Path.cwd()
    for name, do in change.items():
        if name == "weights":
            do()
        elif name == "files":
            photo = here / "mine/cat/1.png"
            photo.unlink() if do == PHOTO.unlink else (do(), shutil.copy2(PHOTO, photo))
    if "weights" in change:
        with pytest.raises(Exception, match="made with other weights"):
            search()
        shutil.rmtree(RUN / "index")
        assert index == "binary" or search() != before  # eight bits may be the same
        return
    with_cache = search(**options)
    shutil.rmtree(RUN / "index")
    fresh = search(**options)
    assert [(hit.file, hit.category) for hit in with_cache] == [(hit.file, hit.category) for hit in fresh]
    assert np.allclose([hit.distance for hit in with_cache], [hit.distance for hit in fresh], atol=1e-4)


def test_an_index_of_other_versions_is_reported_and_rebuilt_by_index(
    trained: Path, command, monkeypatch
) -> None:
    search = ("search", "--save_path=run", f"--query={QUERY}")
    assert command("index", "--save_path=run")[0] == 0
    now = provenance.versions()
    monkeypatch.setattr(provenance, "versions", lambda: {**now, "torch": "9.0"})
    status, output, _ = command(*search)
    assert status == 0
    assert f"was made with torch {now['torch']}: distances may differ in the last digits" in output
    status, output, _ = command("index", "--save_path=run")
    assert status == 0 and "has other torch (step 4): rebuilding it" in output
    assert "was made with" not in command(*search)[1]


@pytest.mark.parametrize(
    ("folder", "arguments"),
    [
        (RUN, TEST),
        (RUN, ("report", "--save_path=run")),
        (RUN, ("index", "--save_path=run", "--evaluate")),
        (RUN / "index/dataset", ("index", "--save_path=run")),
        (RUN / "export/torchscript", ("export", "--save_path=run", "--format=torchscript")),
        (RUN / "published/model", ("export", "--save_path=run", "--format=published")),
    ],
)
def test_two_at_once_in_one_folder_are_refused(
    trained: Path, command, folder: Path, arguments: tuple
) -> None:
    with folder_lock(folder):
        status, _, errors = command(*arguments)
    assert status == 2
    assert f"error: {folder} is in use by process {os.getpid()} on " in errors


def test_a_second_search_into_one_folder_waits(trained: Path, command, monkeypatch) -> None:
    held = ExitStack()
    held.enter_context(folder_lock(Path("out"), ".search.lock"))
    pauses = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            held.close()

    monkeypatch.setattr(locks, "time", SimpleNamespace(sleep=pause))
    status, output, errors = command("search", "--save_path=run", f"--query={QUERY}", "--output=out")
    assert status == 0, errors
    assert output.count(f"out is in use by process {os.getpid()} on ") == 1 and ": waiting for it" in output
    assert len(pauses) == 2
    assert sorted(path.name for path in Path("out").iterdir()) == ["contact_sheet.png", "results.json"]
