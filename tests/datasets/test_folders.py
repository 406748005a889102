"""Folder trees: order, pairing of spellings, and the seeded split."""

import os
from pathlib import Path

import pytest
from PIL import Image

from datasets.folders import (
    TUBERLIN_PHOTO_FOLDERS,
    list_images,
    list_images_below,
    pair_categories,
    simplify_name,
    split_names,
)
from utils.errors import UserError


def test_files_are_sorted_and_others_passed_over(tmp_path: Path) -> None:
    for name in ("b/2.JPEG", "b/10.png", "b/1.jpg", "b/notes.txt", "b/.hidden.png", "a/x.webp", ".git/x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list_images(tmp_path) == {"a": ["x.webp"], "b": ["1.jpg", "10.png", "2.JPEG"]}
    assert list(list_images(tmp_path)) == ["a", "b"]


def test_what_is_read_and_what_is_passed_over_by_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "photos/cat"
    folder.mkdir(parents=True)
    for name in ("a.jfif", "b.JPE", "c.jpg ", "d.heic", "e.AVIF", "f.txt", "LICENSE", ".hidden"):
        (folder / name).write_bytes(b"some text")
    Image.new("RGB", (9, 9)).save(folder / "g", "JPEG")
    assert list_images(tmp_path / "photos") == {"cat": ["a.jfif", "b.JPE", "g"]}
    assert "5 files without an image suffix (cat/LICENSE, 'cat/c.jpg ', cat/d.heic" in caplog.text
    assert "HEIC and AVIF are not supported" in caplog.text and "a space at the end" in caplog.text
    assert list_images_below(folder)[2] == ["LICENSE", "c.jpg ", "d.heic", "e.AVIF", "f.txt"]
    for name in ("a.jfif", "b.JPE", "g"):
        (folder / name).unlink()
    with pytest.raises(UserError, match=r"no image in .*ignored: 5 files .*HEIC and AVIF are not supported"):
        list_images_below(folder)


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folder"):
        list_images(tmp_path / "absent")
    with pytest.raises(UserError, match="no category folder"):
        list_images(tmp_path)
    (tmp_path / "cat").mkdir()
    with pytest.raises(UserError, match=r"no image in 1 categories .*: cat"):
        list_images(tmp_path)


def test_images_anywhere_below_a_folder(tmp_path: Path) -> None:
    root = tmp_path / "mine"
    for name in ("b.JPG", "cats/a b.png", "cats/old/c.webp", ".hidden/d.png", "cats/.e.png", "notes.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/f.png").touch()
    (root / "link").symlink_to(tmp_path / "other")
    (root / "g.png").symlink_to(tmp_path / "other/f.png")
    (root / "h.png").symlink_to(root / "b.JPG")
    (root / "gone.png").symlink_to(root / "nothing")
    (root / "folder.png").mkdir()
    links = ["g.png", "link"]
    expected = ["b.JPG", "cats/a b.png", "cats/old/c.webp", "h.png"]
    assert list_images_below(root) == (expected, links, ["notes.txt"])
    Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9.png")).touch()
    assert list_images_below(root)[1] == ["caf\\xe9.png", "g.png", "link"]
    (tmp_path / "empty").mkdir()
    (tmp_path / "links").mkdir()
    (tmp_path / "links/i.png").symlink_to(root / "b.JPG")
    for folder, message in (
        ("empty", "no image in"),
        ("nowhere", "no folder"),
        ("links", "skipped: i.png"),
    ):
        with pytest.raises(UserError, match=message):
            list_images_below(tmp_path / folder)


def test_tuberlins_two_spellings() -> None:
    """The categories of docs/method.md, Files, that differ, and the rule for all others."""
    regular = {
        "hot air balloon": "hotairballoon",
        "bear (animal)": "bearanimal",
        "ice-cream-cone": "icecreamcone",
        "computer-mouse": "computermouse",
        "cat": "cat",
        "t-shirt": "tshirt",
    }
    expected = regular | TUBERLIN_PHOTO_FOLDERS
    assert len(TUBERLIN_PHOTO_FOLDERS) == 9
    pairs, lone_sketches, lone_photos = pair_categories(sorted(expected), sorted(expected.values()))
    assert pairs == expected
    assert lone_sketches == lone_photos == []


def test_equal_names_win_and_lone_folders_are_named() -> None:
    pairs, lone_sketches, lone_photos = pair_categories(
        ["spider", "hot-dog", "owl"], ["spider", "hotdog", "elk"]
    )
    assert pairs == {"spider": "spider", "hot-dog": "hotdog"}
    assert (lone_sketches, lone_photos) == (["owl"], ["elk"])
    pairs, lone_sketches, _ = pair_categories(["hot dog", "hotdog"], ["hotdog"])
    assert (pairs, lone_sketches) == ({"hotdog": "hotdog"}, ["hot dog"])  # one photo folder, one label
    assert simplify_name("Car_(Sedan)") == "carsedan"


def test_the_split_depends_on_seed_and_category_alone() -> None:
    names = [f"{i}.png" for i in range(80)]
    train, test = split_names(names, 10, seed=0, category="cat")
    assert len(test) == 10 and sorted(train + test) == sorted(names)
    assert split_names(names[::-1], 10, seed=0, category="cat")[1] == test[::-1]
    assert split_names(names, 10, seed=1, category="cat")[1] != test
    assert split_names(names, 10, seed=0, category="dog")[1] != test
    assert test[:3] == ["3.png", "26.png", "34.png"]  # the same draw on every platform and Python


@pytest.mark.parametrize("count", [0, 3, 4])
def test_too_few_sketches_for_a_split(count: int) -> None:
    with pytest.raises(UserError, match="category cat has 3 sketches"):
        split_names(["1", "2", "3"], count, seed=0, category="cat")
