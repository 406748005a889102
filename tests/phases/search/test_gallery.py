"""The gallery cache: embedded once, updated by file, refused when it is of another checkpoint."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datasets import loaders
from datasets.images import UnreadableImage
from phases.search import gallery_cache
from phases.search.searcher import Searcher, open_searcher
from utils import checkpoints
from utils.errors import UserError
from utils.locks import folder_lock

PROJECT = Path(__file__).parents[3]
COMMON: dict[str, Any] = {"anno_path": Path("anno"), "num_workers": 0, "device": "cpu"}


def photo(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def features_name(folder: Path) -> str:
    """The name of the file of features that gallery.json describes."""
    return f"features.{json.loads((folder / 'gallery.json').read_text())['sha256'][:12]}.npy"


@pytest.fixture
def mine(trained: Path) -> Path:
    """A folder of photos, some of them in subfolders."""
    for number, name in enumerate(("a.jpg", "cats/b.PNG", "cats/c d.jpg", "dogs/é.jpeg")):
        photo(trained / "mine" / name, number)
    return trained / "mine"


def open_run(gallery: str = "mine", **options) -> Searcher:
    return open_searcher("run", gallery, **COMMON, **options)


def rows(searcher: Searcher) -> dict[str, np.ndarray]:
    return dict(zip(searcher.gallery.names, np.array(searcher.gallery.values), strict=True))


def test_a_folder_is_embedded_once(mine: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    first = open_run()
    assert first.gallery.names == ["a.jpg", "cats/b.PNG", "cats/c d.jpg", "dogs/é.jpeg"]
    assert first.gallery.categories == [None, "cats", "cats", "dogs"]
    assert first.gallery.values.shape == (4, 8, 2)
    assert "4 photos, 4 new or changed, 0 gone" in caplog.text
    caplog.clear()
    again = open_run(str(mine))  # the same folder by another name
    assert "new or changed" not in caplog.text
    assert np.array_equal(first.gallery.values, again.gallery.values)


def test_rows_are_counted_without_a_progress_bar(mine: Path) -> None:
    """TQDM_DISABLE=1 is read when tqdm is imported: another process."""
    program = "import tests.tiny_main; from tests.phases.search.test_gallery import open_run; "
    program += "open_run(batch_size=2)"
    environment = {**os.environ, "TQDM_DISABLE": "1", "PYTHONPATH": str(PROJECT)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=120)
    disabled = rows(open_run(batch_size=2))
    shutil.rmtree("logs/run/index")
    enabled = rows(open_run(batch_size=2))
    assert list(enabled) == list(disabled)
    assert all(np.allclose(enabled[name], disabled[name], atol=1e-5) for name in enabled)
    assert not np.allclose(enabled["a.jpg"], enabled["cats/b.PNG"], atol=1e-5)


def test_features_of_an_earlier_format_are_rebuilt(mine: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    open_run()
    (path,) = Path("logs/run/index").glob("mine-*/gallery.json")
    record = json.loads(path.read_text())
    del record["making"]["format"]
    path.write_text(json.dumps(record))
    open_run()
    assert "has other format" in caplog.text and "4 photos, 4 new" in caplog.text


def test_photos_of_a_folder_are_read_in_rgb_whatever_the_training_used(
    mine: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The order of TU-Berlin's photos is a property of that archive."""
    caplog.set_level("INFO")
    in_rgb = rows(open_run())
    assert "are fed in" not in caplog.text
    path = Path("logs/run/model/checkpoint-4.pt")
    state = checkpoints.load(path)
    state["options"]["photo_channels"] = "bgr"
    path.unlink()  # other tests have links to the same file
    checkpoints.save(path, state)
    again = rows(open_run())
    assert all(np.array_equal(again[name], in_rgb[name]) for name in in_rgb)
    assert "photos of mine are fed in RGB, those of the training were in BGR" in caplog.text
    shutil.rmtree("logs/run/index")
    in_bgr = rows(open_run(photo_channels="bgr"))
    assert not any(np.array_equal(in_bgr[name], in_rgb[name]) for name in in_rgb)


def test_new_changed_and_removed_files(mine: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    before = rows(open_run())
    photo(mine / "birds/new.webp", 10)
    photo(mine / "a.jpg", 11)
    (mine / "cats/b.PNG").unlink()
    after = rows(open_run())
    assert "4 photos, 2 new or changed, 1 gone" in caplog.text
    assert list(after) == ["a.jpg", "birds/new.webp", "cats/c d.jpg", "dogs/é.jpeg"]
    for name in ("cats/c d.jpg", "dogs/é.jpeg"):
        assert np.array_equal(after[name], before[name])
    assert not np.allclose(after["a.jpg"], before["a.jpg"])
    (folder,) = Path("logs/run/index").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == [features_name(folder), "gallery.json"]
    fresh = shutil.copytree(mine, mine.parent / "copy")
    for name, values in rows(open_run(str(fresh))).items():  # as if embedded at once, except for the batches
        assert np.allclose(values, after[name], atol=1e-5)


def test_unreadable_photos_are_left_out_and_named(mine: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    (mine / "broken.jpg").write_bytes(b"no image")
    assert "broken.jpg" not in open_run().gallery.names
    assert (
        "unreadable images of mine are left out until they change or --phase=index is run (1): "
        in caplog.text
    )
    assert "broken.jpg (it is not an image in a supported format)" in caplog.text
    assert "formats that are read: PNG, JPEG," in caplog.text
    caplog.clear()
    open_run()
    assert "new or changed" not in caplog.text and "broken.jpg" in caplog.text
    photo(mine / "broken.jpg")
    assert "broken.jpg" in open_run().gallery.names
    for path in mine.rglob("*.*"):
        path.write_bytes(b"no image either")
    with pytest.raises(UserError, match=r"no image in mine can be read: a\.jpg \(it is not an image"):
        open_run()


def test_index_tries_unreadable_images_again(mine: Path, command, monkeypatch: pytest.MonkeyPatch) -> None:
    real = loaders.read_image

    def failing(path: Path, mode: str) -> Image.Image:
        if path.name == "a.jpg":
            raise UnreadableImage(path, "Input/output error", "try again")
        return real(path, mode)

    with monkeypatch.context() as patch:
        patch.setattr(loaders, "read_image", failing)
        assert "a.jpg" not in open_run().gallery.names
    assert "a.jpg" not in open_run().gallery.names
    status, output, errors = command("index", "--save_path=run", "--gallery=mine")
    assert status == 0, errors
    assert "4 photos, 1 new or changed" in output and "index flat of 4 photos" in output
    assert "a.jpg" in open_run().gallery.names


def test_links_that_lead_out_are_left_out(mine: Path, caplog: pytest.LogCaptureFixture) -> None:
    secret = photo(mine.parent / "secret/x.png")
    (mine / "out.png").symlink_to(secret)
    (mine / "folder").symlink_to(secret.parent)
    (mine / "in.jpg").symlink_to(mine / "a.jpg")
    names = open_run().gallery.names
    assert "in.jpg" in names and not {"out.png", "folder/x.png"} & set(names)
    assert "left out of mine, links to other places" in caplog.text
    assert "UTF-8: folder, out.png" in caplog.text


def test_a_gallery_that_is_not_there_or_empty(trained: Path) -> None:
    with pytest.raises(UserError, match="no folder nowhere; check its path"):
        open_run("nowhere")
    Path("empty").mkdir()
    with pytest.raises(UserError, match="no image in empty"):
        open_run("empty")
    assert not Path("logs/run/index").exists()


def test_the_data_sets_gallery_is_taken_from_the_last_test(
    trained: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    searcher = open_run("dataset")
    assert "9 photos, 0 new or changed, 0 gone" in caplog.text
    assert searcher.gallery.categories == ["bear (animal)"] * 3 + ["cat"] * 3 + ["hot-dog"] * 3
    lists = json.loads(Path("anno/tiny_photo.json").read_text())
    vec = np.load("logs/run/vec/photo-4.npy").transpose(1, 2, 0)
    of_test = {name: vec[row] for row, (name, _) in enumerate(lists["test"])}
    assert all(np.array_equal(of_test[name], values) for name, values in rows(searcher).items())


def test_without_a_test_it_is_computed(trained: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    of_test = rows(open_run("dataset"))
    shutil.rmtree("logs/run/vec")
    shutil.rmtree("logs/run/index")
    computed = rows(open_run("dataset"))
    assert "9 photos, 9 new or changed, 0 gone" in caplog.text
    assert all(np.allclose(computed[name], values, atol=1e-5) for name, values in of_test.items())


def test_features_of_another_checkpoint_are_refused_and_rebuilt_by_index(mine: Path, command) -> None:
    with_two = rows(open_run(pretrained_model=2))
    with pytest.raises(
        UserError, match=r"made with other weights \(of step 2, this is step 4\).*--phase=index"
    ):
        open_run()
    status, _, errors = command("search", "--save_path=run", "--gallery=mine", "--query", str(mine / "a.jpg"))
    assert status == 2 and "made with other weights" in errors
    status, output, errors = command("index", "--save_path=run", "--gallery=mine")
    assert status == 0, errors
    assert output.count("has other weights (step 2): rebuilding it") == 1
    assert "index flat of 4 photos" in output
    with_four = rows(open_run())
    assert not np.allclose(with_two["a.jpg"], with_four["a.jpg"])
    with pytest.raises(UserError, match=r"of step 4, this is step 2"):
        open_run(pretrained_model=2)


@pytest.mark.parametrize("content", ["", "{}", "[1, 2]", '{"features": "../../x.npy", "files": 3}', None])
def test_a_damaged_cache_is_rebuilt(mine: Path, caplog: pytest.LogCaptureFixture, content) -> None:
    before = rows(open_run())
    (folder,) = Path("logs/run/index").iterdir()
    if content is None:
        (folder / features_name(folder)).write_bytes(b"\x93NUMPY torn")
    else:
        (folder / "gallery.json").write_text(content)
    after = rows(open_run())
    assert caplog.text.count("cannot be used") == 1 and "rebuilding it" in caplog.text
    assert all(np.allclose(before[name], values, atol=1e-5) for name, values in after.items())


def test_files_of_a_killed_process_are_removed_and_the_old_state_stays(mine: Path) -> None:
    open_run()
    (folder,) = Path("logs/run/index").iterdir()
    (folder / ".fresh.npy.1.tmp").write_bytes(b"half")
    (folder / "features.2.npy").write_bytes(b"written, but not yet named by gallery.json")
    assert len(rows(open_run())) == 4
    photo(mine / "more.jpg", 5)
    assert len(rows(open_run())) == 5
    assert sorted(path.name for path in folder.iterdir()) == [features_name(folder), "gallery.json"]


def test_a_full_disk_leaves_the_old_state(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_run()
    photo(mine / "more.jpg", 5)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(UserError, match=r"cannot write .* of features.*No space left"):
            open_run()
    (folder,) = Path("logs/run/index").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == [features_name(folder), "gallery.json"]
    assert len(rows(open_run())) == 5


def test_files_on_disk_have_the_form_of_earlier_versions(
    mine: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Written here by hand, as versions from 0.1.0 on write them."""
    caplog.set_level("INFO")
    before = rows(open_run())
    (folder,) = Path("logs/run/index").iterdir()
    record = json.loads((folder / "gallery.json").read_text())
    states = {name: (mine / name).stat() for name in before}
    values = np.stack(list(before.values())).transpose(2, 0, 1)  # (2, N, f_dim)
    shutil.rmtree(folder)
    folder.mkdir()
    np.save(folder / "features.npy", np.ascontiguousarray(values))
    digest = hashlib.sha256((folder / "features.npy").read_bytes()).hexdigest()
    (folder / "features.npy").rename(folder / f"features.{digest[:12]}.npy")
    by_hand = {
        "sha256": digest,
        "making": record["making"],
        "step": 4,
        "versions": record["versions"],
        "files": [[name, state.st_size, state.st_mtime_ns] for name, state in states.items()],
        "unreadable": [],
    }
    assert by_hand == record
    (folder / "gallery.json").write_text(json.dumps(by_hand))
    caplog.clear()
    after = rows(open_run())
    assert "new or changed" not in caplog.text and "cannot be used" not in caplog.text
    assert list(after) == list(before)
    assert all(np.array_equal(after[name], before[name]) for name in before)


def test_a_gallery_that_is_up_to_date_is_read_while_another_process_writes(mine: Path) -> None:
    open_run()
    (folder,) = Path("logs/run/index").iterdir()
    with folder_lock(folder):
        assert len(rows(open_run())) == 4
        photo(mine / "more.jpg", 5)
        with pytest.raises(UserError, match="is in use by process"):
            open_run()
    assert len(rows(open_run())) == 5


def test_what_another_process_has_embedded_is_not_embedded_again(
    mine: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    @contextmanager
    def lock_after_another(folder: Path) -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr(gallery_cache, "folder_lock", folder_lock)
            open_run()
        with folder_lock(folder):
            yield

    monkeypatch.setattr(gallery_cache, "folder_lock", lock_after_another)
    assert len(rows(open_run())) == 4
    assert caplog.text.count("4 new or changed") == 1
