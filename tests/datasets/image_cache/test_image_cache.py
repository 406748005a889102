"""Kept images are those of the files, made once, whole or not at all."""

import os
import shutil
import signal
import time
from collections import namedtuple
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datasets import PHOTO, SKETCH, image_cache, transforms
from datasets.image_cache.photos import CachedPhotos, cache_photos
from datasets.image_cache.sketches import CachedSketches, cache_sketches
from datasets.images import read_image
from datasets.loaders import ImageSet, training_batches
from tests.conftest import draw_tree
from tests.victims import Victim, Zygote
from utils.errors import UserError
from utils.locks import folder_lock

SKETCHES = [f"sketches/{category}/{index}.png" for category in ("cat", "hot-dog") for index in range(3)]
NAMES = [f"photos/{category}/{index}.png" for category in ("cat", "hot-dog") for index in range(3)]
SIZE = 24


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return draw_tree(tmp_path / "tiny")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "datasets/cache"


def keep(
    root: Path, folder: Path, names: list[str] = NAMES, *, size: int = SIZE, workers: int = 0
) -> CachedPhotos:
    kept = cache_photos(root, names, size, folder)
    image_cache.build_caches([kept], workers=workers)
    return kept


def keep_sketches(
    root: Path, folder: Path, names: list[str] = SKETCHES, *, workers: int = 0
) -> CachedSketches:
    kept = cache_sketches(root, names, folder)
    image_cache.build_caches([kept], workers=workers)
    return kept


def draw_sizes(root: Path) -> None:
    """Sketches of other sizes and kinds: a column, a row, transparent, 16-bit, lying on its side."""
    values = np.random.default_rng(0).integers(0, 256, (30, 50, 4), dtype=np.uint8)
    Image.fromarray(values[:, :1, 0].copy()).save(root / SKETCHES[0])
    Image.fromarray(values[:1, :, 0].copy()).save(root / SKETCHES[1])
    Image.fromarray(values).save(root / SKETCHES[2])
    Image.fromarray(values[..., 0].astype(np.uint16) * 257).save(root / SKETCHES[3])
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.fromarray(values[..., :3].copy()).save(root / SKETCHES[4], exif=exif)


def contents(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()}


@pytest.mark.parametrize("workers", [0, 2])
def test_kept_pixels_are_those_of_the_files(root: Path, folder: Path, workers: int) -> None:
    kept = keep(root, folder, [*reversed(NAMES), *NAMES], workers=workers)
    for name in NAMES:
        expected = transforms.resize_photo(read_image(root / name, "RGB"), SIZE)
        assert torch.equal(kept.pixels(name), expected)
    assert np.load(kept.file).shape == (len(NAMES), 3, SIZE, SIZE)
    assert contents(folder) == {kept.file.name, kept.file.with_suffix(".json").name}


@pytest.mark.parametrize("workers", [0, 2])
def test_kept_sketches_are_as_large_as_their_files(root: Path, folder: Path, workers: int) -> None:
    draw_sizes(root)
    kept = keep_sketches(root, folder, [*reversed(SKETCHES), *SKETCHES], workers=workers)
    shapes = []
    for name in SKETCHES:
        found, expected = kept.pixels(name), np.asarray(read_image(root / name, "L"))
        assert found.dtype == np.uint8 and np.array_equal(found, expected)
        shapes.append(found.shape)
    assert shapes == [(30, 1), (1, 50), (30, 50), (30, 50), (50, 30), (40, 40)]
    assert contents(folder) == {kept.file.name, kept.file.with_suffix(".json").name}


@pytest.mark.parametrize("make", [transforms.sketch_train, transforms.sketch_test])
def test_batches_of_kept_sketches_are_those_of_the_files(root: Path, folder: Path, make) -> None:
    draw_sizes(root)
    entries = [(name, 0) for name in SKETCHES]
    plain = ImageSet(root, entries, SKETCH, make(SIZE), seed=3)
    kept = ImageSet(
        root, entries, SKETCH, make(SIZE), seed=3, cached_decoded=keep_sketches(root, folder).pixels
    )
    for workers in (0, 1):
        batches = [training_batches(images, 3, workers=workers) for images in (plain, kept)]
        for _ in range(4):
            expected, found = (next(each)[0] for each in batches)
            assert torch.equal(expected, found)


def test_mirror_channels_and_normalisation_come_after(root: Path, folder: Path) -> None:
    entries = [(name, 0) for name in NAMES]
    transform = transforms.photo_train(SIZE, "bgr", normalize=transforms.IMAGENET)
    plain = ImageSet(root, entries, PHOTO, transform, seed=3)
    kept = ImageSet(root, entries, PHOTO, transform, seed=3, cached_resized=keep(root, folder).pixels)
    for workers in (0, 1):
        batches = [training_batches(images, 3, workers=workers) for images in (plain, kept)]
        for _ in range(4):
            expected, found = (next(each)[0] for each in batches)
            assert torch.equal(expected, found)


def test_a_second_run_reads_what_the_first_one_wrote(
    root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = keep(root, folder)
    before = first.file.stat().st_mtime_ns
    sketches = keep_sketches(root, folder)
    monkeypatch.setattr(image_cache, "write_cache", lambda *_: pytest.fail("built again"))
    assert keep(root, folder) == first
    assert keep_sketches(root, folder) == sketches
    assert first.file.stat().st_mtime_ns == before


def test_other_lists_sizes_and_photos_are_other_files(root: Path, folder: Path) -> None:
    files = {
        keep(root, folder).file,
        keep(root, folder, NAMES[1:]).file,
        keep(root, folder, size=25).file,
    }
    changed = root / NAMES[0]
    Image.new("RGB", (40, 40), (9, 8, 7)).save(changed)
    kept = keep(root, folder)
    assert len({*files, kept.file}) == 4
    assert kept.pixels(NAMES[0])[:, 0, 0].tolist() == [9, 8, 7]
    os.utime(changed, ns=(1, 1))
    assert keep(root, folder).file not in {*files, kept.file}


def test_other_lists_and_sketches_are_other_files(root: Path, folder: Path) -> None:
    files = {keep_sketches(root, folder).file, keep_sketches(root, folder, SKETCHES[1:]).file}
    Image.new("L", (7, 5), 9).save(root / SKETCHES[0])
    kept = keep_sketches(root, folder)
    assert len({*files, kept.file}) == 3
    assert np.array_equal(kept.pixels(SKETCHES[0]), np.full((5, 7), 9))
    assert np.array_equal(kept.pixels(SKETCHES[1]), np.asarray(read_image(root / SKETCHES[1], "L")))


@pytest.mark.parametrize("damage", ["torn", "no key", "bad key", "other shape"])
def test_a_damaged_file_is_made_anew(root: Path, folder: Path, damage: str) -> None:
    kept = keep(root, folder)
    whole, key = kept.file.read_bytes(), kept.file.with_suffix(".json")
    image_cache.map_pixels.cache_clear()
    if damage == "torn":
        kept.file.write_bytes(whole[:-100])
    elif damage == "no key":
        key.unlink()
    elif damage == "bad key":
        key.write_text("[]")
    else:
        np.save(kept.file, np.zeros((2, 3, SIZE, SIZE), np.uint8))
    assert keep(root, folder) == kept
    assert kept.file.read_bytes() == whole


def test_a_full_disk_is_refused_before_anything_is_written(
    root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need = len(NAMES) * 3 * SIZE**2
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(2**40, 2**40 - need, need))
    with pytest.raises(
        UserError, match=r"needs 0\.1 GB in .*/datasets/cache for 6 photos of 24 px, but only 0\.0 GB"
    ):
        keep(root, folder)
    assert not folder.parent.exists()


def test_room_is_asked_for_all_files_at_once(
    root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the headers: no sketch is decoded for it."""
    draw_sizes(root)
    wanted = [cache_sketches(root, SKETCHES, folder), cache_photos(root, NAMES, SIZE, folder)]
    sizes = [each.contents(0).size for each in wanted]
    assert sizes == [30 + 50 + 3 * 1500 + 1600 + 8 * 6, 6 * 3 * SIZE**2]
    need = sum(sizes) + sum(sizes) // 20 + image_cache.SPARE_BYTES
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(2**40, 2**40 - need, need - 1))
    monkeypatch.setattr(image_cache, "write_cache", lambda *_: pytest.fail("built"))
    with pytest.raises(UserError, match=r"needs 0\.1 GB in .* for 6 sketches and 6 photos of 24 px"):
        image_cache.build_caches(wanted, workers=0)
    assert not folder.parent.exists()


@pytest.mark.parametrize("torn", [b"\x89PNG", None])
@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_sketch_leaves_nothing(
    root: Path, folder: Path, workers: int, torn: bytes | None
) -> None:
    """Found by its header, or, if it is the rest that is torn, on decoding."""
    path = root / SKETCHES[-1]
    path.write_bytes(torn or path.read_bytes()[:60])
    with pytest.raises(UserError, match=r"cannot read image .*hot-dog/2\.png"):
        keep_sketches(root, folder, workers=workers)
    assert not folder.parent.exists()


def test_a_sketch_that_changes_meanwhile_leaves_nothing(root: Path, folder: Path) -> None:
    kept = cache_sketches(root, SKETCHES, folder)
    planned = kept.contents(0)
    Image.new("L", (7, 5), 9).save(root / SKETCHES[0])
    folder.mkdir(parents=True)
    with pytest.raises(UserError, match="changed while being read"):
        image_cache.write_cache(kept, planned)
    assert contents(folder) == set()


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_photo_leaves_nothing(root: Path, folder: Path, workers: int) -> None:
    (root / NAMES[-1]).write_bytes(b"\x89PNG")
    with pytest.raises(UserError, match=r"cannot read image .*hot-dog/2\.png"):
        keep(root, folder, workers=workers)
    assert not folder.parent.exists()


def test_what_a_killed_build_left_is_removed(root: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / ".tiny-photos-24-0123456789ab.npy.77.tmp").write_bytes(b"half")
    kept = keep(root, folder)
    assert contents(folder) == {kept.file.name, kept.file.with_suffix(".json").name}


PROGRAM = """
import logging, sys, time
from pathlib import Path
from datasets import image_cache, loaders
from datasets.image_cache import photos, sketches
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
kind, root, folder, slow, *names = sys.argv[1:]
root, folder = Path(root), Path(folder)
plain = loaders.read_image
def read_slowly(*arguments):
    time.sleep(float(slow))
    return plain(*arguments)
loaders.read_image, photos.BATCH = read_slowly, 1
if kind == "photos":
    kept = photos.cache_photos(root, names, 24, folder)
else:
    kept = sketches.cache_sketches(root, names, folder)
image_cache.build_caches([kept], workers=2)
print(kept.file, flush=True)
"""


def start(zygote: Zygote, root: Path, folder: Path, *, slow: float, kind: str = "photos") -> Victim:
    """A process that builds the cache; its output is to be read from the pipe root.parent/output.txt."""
    output = root.parent / "output.txt"
    os.mkfifo(output)
    names = {"photos": NAMES, "sketches": SKETCHES}[kind]
    return zygote.start(
        root.parent, kind, str(root), str(folder), str(slow), *names, output=output, program=PROGRAM
    )


def wait_for(condition, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("kind", "number"), [("photos", signal.SIGINT), ("photos", signal.SIGTERM), ("sketches", signal.SIGTERM)]
)
def test_a_stopped_build_leaves_nothing(
    root: Path, folder: Path, zygote: Zygote, kind: str, number: signal.Signals
) -> None:
    process = start(zygote, root, folder, slow=0.5, kind=kind)
    with process.output.open() as output:
        wait_for(lambda: list(folder.glob(".*.tmp")))
        process.kill(number)
        output.read()  # returns when the last worker has let go of the pipe
    assert process.wait() == 128 + number
    assert not folder.exists()


def test_a_second_process_waits_and_uses_what_the_first_one_made(
    root: Path, folder: Path, tmp_path: Path, zygote: Zygote
) -> None:
    made = keep(root, tmp_path / "elsewhere").file
    with ExitStack() as stack:
        with folder_lock(folder):
            second = start(zygote, root, folder, slow=0)
            output = stack.enter_context(second.output.open())
            assert f"{folder} is in use by process {os.getpid()}" in output.readline()
            for each in made.parent.iterdir():
                shutil.copy2(each, folder)
        lines = output.read().splitlines()
    assert second.wait() == 0
    assert lines[-1] == str(folder / made.name)
    assert (folder / made.name).stat().st_mtime_ns == made.stat().st_mtime_ns  # not made again


@pytest.mark.parametrize("damage", ["pickle", "sizes", "shape", "deep"])
def test_a_file_of_a_stranger_is_made_anew(root: Path, folder: Path, damage: str) -> None:
    kept = keep_sketches(root, folder)
    whole, key = kept.file.read_bytes(), kept.file.with_suffix(".json")
    image_cache.map_pixels.cache_clear()
    if damage == "pickle":
        np.save(kept.file, np.array([Path("x")], dtype=object), allow_pickle=True)
    elif damage == "sizes":  # a table that leads beyond the file
        kept.file.write_bytes(whole[:-8] + b"\xff" * 8)
    elif damage == "shape":
        key.write_text(f'{{"key": "{kept.key}", "shape": [1e999]}}')
    else:
        key.write_text("[" * 100_000)
    assert keep_sketches(root, folder) == kept
    assert kept.file.read_bytes() == whole
