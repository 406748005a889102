"""--phase=prepare: lists from folders, with every fault reported before anything is written."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any, Literal
from unicodedata import normalize

import pytest

import main
from datasets.annotations import load_annotation


def read_lists(anno: Path = Path("anno")) -> dict[str, dict]:
    return {domain: json.loads((anno / f"tiny_{domain}.json").read_text()) for domain in ("sketch", "photo")}


def test_lists_have_the_published_form(tree: Path, command) -> None:
    status, output, _ = command("prepare", "--test_per_category=1")
    assert status == 0
    lists = read_lists()
    assert [len(lists["sketch"][part]) for part in ("train", "test")] == [9, 3]
    assert lists["photo"]["train"] == lists["photo"]["test"] and len(lists["photo"]["test"]) == 9
    assert lists["photo"]["test"][0] == ["photos/bear (animal)/0.png", 0]
    assert "sketches: 12" in output and "photos: 9" in output and "unreadable images: 0 of 21" in output
    data = load_annotation(tree.parent, Path("anno"), "tiny")
    assert data.categories == ["bear (animal)", "cat", "hot-dog"]


def test_the_split_is_seeded(tree: Path, command) -> None:
    seen = []
    for seed in (0, 0, 1, 2, 3):
        assert command("prepare", "--test_per_category=1", "--force", f"--seed={seed}")[0] == 0
        seen.append(json.dumps(read_lists()))
    assert seen[0] == seen[1]
    assert len(set(seen)) > 1


def test_existing_lists_are_kept_without_force(prepared: Path, command) -> None:
    before = read_lists()
    status, _, errors = command("prepare", "--test_per_category=1")
    assert status == 2 and "--force" in errors and "anno/tiny_sketch.json" in errors
    assert read_lists() == before
    assert command("prepare", "--test_per_category=1", "--force")[0] == 0
    assert read_lists() != before


def test_counts_are_logged_beside_the_published_ones(tree: Path, command) -> None:
    tree.rename(tree.parent / "TUBerlin")
    status, output, errors = command("prepare", "--dataset=TUBerlin")
    assert "photos: 9 (published: 204489, difference -204480)" in output
    assert status == 2 and "4 sketches, too few for 10 test sketches" in errors
    assert not Path("anno").exists()


@pytest.mark.parametrize(("domain", "other"), [("sketches", "photos"), ("photos", "sketches")])
def test_a_category_without_a_partner(tree: Path, command, domain: str, other: str) -> None:
    (tree / other / "cat").rename(tree / other / "zebra")
    status, _, errors = command("prepare", "--test_per_category=1")
    assert status == 2 and "without a partner" in errors and "['cat']" in errors and "['zebra']" in errors
    assert not Path("anno").exists()


def test_unreadable_images_are_named_and_can_be_left_out(tree: Path, command) -> None:
    (tree / "photos/cat/1.png").write_bytes(b"torn")
    (tree / "sketches/hot-dog/3.png").write_bytes(b"")
    status, output, errors = command("prepare", "--test_per_category=1")
    assert status == 2 and "2 images cannot be read" in errors and "--skip_unreadable" in errors
    assert "unreadable: datasets/data/tiny/photos/cat/1.png" in output
    assert not Path("anno").exists()
    assert command("prepare", "--test_per_category=1", "--skip_unreadable")[0] == 0
    names = [name for part in read_lists().values() for entries in part.values() for name, _ in entries]
    assert "photos/cat/1.png" not in names and "sketches/hot-dog/3.png" not in names
    assert len(names) == 11 + 2 * 8


def test_no_readable_photo_left(tree: Path, command) -> None:
    for photo in (tree / "photos/cat").iterdir():
        photo.write_bytes(b"torn")
    status, _, errors = command("prepare", "--test_per_category=1", "--skip_unreadable")
    assert status == 2 and "no readable photo in category cat" in errors
    assert not Path("anno").exists()


def test_missing_and_empty_folders(tree: Path, command) -> None:
    status, _, errors = command("prepare", "--dataset=absent")
    assert status == 2 and "no folder datasets/data/absent" in errors
    (tree / "photos/empty").mkdir()
    status, _, errors = command("prepare")
    assert status == 2 and "no image in 1 categories" in errors and "empty" in errors
    for name in ("../tiny", "", "a/b"):
        status, _, errors = command("prepare", f"--dataset={name}")
        assert status == 2 and "--dataset" in errors


def test_the_demo_set_is_drawn(tree: Path, command, monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets.demo import shapes
    from phases import prepare

    def draw_small(root: Path) -> None:
        shapes.draw_demo(root, sketches=3, photos=2, image_size=32)

    monkeypatch.setattr(prepare, "draw_demo", draw_small)
    assert command("prepare", "--dataset=demo", "--test_per_category=1")[0] == 0
    data = load_annotation(tree.parent, Path("anno"), "demo")
    assert len(data.categories) == 12 and len(data.gallery) == 24 and len(data.test_sketches) == 12


def test_only_the_categories_of_a_class_list(tree: Path, command) -> None:
    Path("two.txt").write_text("# the others\n\ncat\nbear (animal)\n")
    status, output, _ = command("prepare", "--test_per_category=1", "--class_list=two.txt")
    assert status == 0 and "only the categories of two.txt: 2" in output
    assert load_annotation(tree.parent, Path("anno"), "tiny").categories == ["bear (animal)", "cat"]


CLASS_LISTS = {
    "a byte order mark": "hot-dog\ncat\n".encode("utf-8-sig"),
    "Windows": b"hot-dog\r\n\r\n# the others\r\ncat\r\n",
    "both": "cat\r\nhot-dog".encode("utf-8-sig"),
    "comments": b"  # a blank before it\n\t#and a tab\n hot-dog \ncat",
}


@pytest.mark.parametrize("kind", CLASS_LISTS)
@pytest.mark.parametrize("protocol", ["seen", "zero-shot"])
def test_class_lists_as_others_write_them(tree: Path, command, kind: str, protocol: str) -> None:
    Path("two.txt").write_bytes(CLASS_LISTS[kind])
    per_category = ["--test_per_category=1"] if protocol == "seen" else []
    status, _, errors = command("prepare", "--class_list=two.txt", f"--protocol={protocol}", *per_category)
    assert status == 0, errors
    assert {name.split("/")[1] for name, _ in read_lists()["sketch"]["test"]} == {"cat", "hot-dog"}


def test_a_class_list_from_another_program(tree: Path, command) -> None:
    reader, writer = os.pipe()  # --class_list=<(grep -v bear names.txt)
    os.write(writer, b"cat\nhot-dog\n")
    os.close(writer)
    status, _, errors = command("prepare", f"--class_list=/dev/fd/{reader}", "--test_per_category=1")
    os.close(reader)
    assert status == 0, errors
    assert load_annotation(tree.parent, Path("anno"), "tiny").categories == ["cat", "hot-dog"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("cat\n".encode("utf-16"), "cannot read --class_list two.txt: it is UTF-16: save it as UTF-8"),
        ("cat\n".encode("utf-16-be"), "cannot read --class_list two.txt: it is UTF-16: save it as UTF-8"),
        (b"caf\xe9\n", "two.txt: it is not UTF-8 (byte 4 is 0xe9): save it as UTF-8"),
        (
            b"cat\nhot dog\n",
            "1 categories without sketches, first 'hot dog'; the closest one is",
        ),
    ],
)
def test_class_lists_that_cannot_be_read(tree: Path, command, content: bytes, message: str) -> None:
    Path("two.txt").write_bytes(content)
    status, _, errors = command("prepare", "--class_list=two.txt", "--test_per_category=1")
    assert status == 2 and message in errors and errors.count("\n") == 1


@pytest.mark.parametrize("listed", ["NFC", "NFD"])
@pytest.mark.parametrize("sketches", ["NFC", "NFD"])
@pytest.mark.parametrize("photos", ["NFC", "NFD"])
def test_categories_in_both_spellings_of_unicode_are_one(
    tree: Path, command, listed: Literal["NFC", "NFD"], sketches: Literal["NFC", "NFD"], photos: Any
) -> None:
    for domain, form in (("sketches", sketches), ("photos", photos)):
        (tree / domain / "cat").rename(tree / domain / normalize(form, "café"))
    Path("two.txt").write_text(normalize(listed, "café\nhot-dog\n"))
    options = ("--test_per_category=1", "--class_list=two.txt", "--seed=3")
    status, _, errors = command("prepare", *options)
    assert status == 0, errors
    data = load_annotation(tree.parent, Path("anno"), "tiny")
    assert data.categories == ["café", "hot-dog"]
    assert all((tree / name).is_file() for name, _ in data.train_sketches + data.gallery)
    # drawn as for any other spelling
    assert [Path(name).name for name, label in data.test_sketches if label == 0] == ["0.png"]


@pytest.mark.parametrize("arguments", [[], ["--class_list=one.txt"]])
def test_zero_shot_lists_test_what_is_never_trained_on(tree: Path, command, arguments: list[str]) -> None:
    Path("one.txt").write_text("cat\n")
    status, output, errors = command("prepare", "--protocol=zero-shot", *arguments)
    assert status == 0, errors
    lists = read_lists()
    unseen = {each[1] for each in lists["sketch"]["test"]}
    for content in lists.values():
        assert {label for _, label in content["test"]} == unseen
        assert not unseen & {label for _, label in content["train"]}
    assert [len(lists[domain][part]) for domain in lists for part in ("train", "test")] == [8, 4, 6, 3]
    assert "zero-shot: 2 categories to train on, 1 unseen" in output
    data = load_annotation(tree.parent, Path("anno"), "tiny")
    assert data.zero_shot and data.num_train_classes == 2 and {label for _, label in data.gallery} == {2}
    if arguments:
        assert data.categories == ["bear (animal)", "hot-dog", "cat"]


def test_zero_shot_lists_are_drawn_by_seed(tree: Path, command) -> None:
    drawn = []
    for seed in (0, 0, 1, 2, 3, 4, 5):
        assert command("prepare", "--protocol=zero-shot", "--force", f"--seed={seed}")[0] == 0
        drawn.append(json.dumps(read_lists()))
    assert drawn[0] == drawn[1] and len(set(drawn)) == 3  # one of three categories


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("zebra\n", [], "names 1 categories without sketches, first 'zebra'"),
        ("\n# nothing\n", [], "names no category"),
        ("cat\nhot-dog\nbear (animal)\n", ["--protocol=zero-shot"], "none is left to train on"),
        ("cat\n", ["--protocol=zero-shot", "--test_per_category=1"], "all unseen sketches are tested"),
    ],
)
def test_class_lists_that_do_not_fit(
    tree: Path, command, text: str, arguments: list[str], message: str
) -> None:
    Path("list.txt").write_text(text)
    status, _, errors = command("prepare", "--class_list=list.txt", *arguments)
    assert status == 2 and message in errors
    assert not Path("anno").exists()


@pytest.mark.parametrize("dataset", ["tiny", "demo", "absent"])
def test_a_missing_class_list_is_reported_before_anything_is_done(tree: Path, command, dataset: str) -> None:
    status, output, errors = command("prepare", "--class_list=absent.txt", f"--dataset={dataset}")
    assert (status, output) == (2, "") and not (tree.parent / "demo").exists()
    assert errors == "error: cannot read --class_list absent.txt: No such file or directory; check its path\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--test_per_category=4"], "category bear (animal) has 4 sketches, too few for 4 test sketches"),
        (["--class_list=list.txt"], "names 1 categories without sketches, first 'zebra'"),
        (["--class_list=list.txt", "--protocol=zero-shot"], "names 1 categories without sketches"),
        (["--dataset=half"], "no folder datasets/data/half/photos"),
    ],
)
def test_counts_are_checked_before_images_are_opened(
    tree: Path, command, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("an image was opened")

    monkeypatch.setattr("datasets.readable.read_image", refuse)
    Path("list.txt").write_text("cat\nzebra\n")
    shutil.copytree(tree / "sketches", tree.parent / "half/sketches")
    status, _, errors = command("prepare", *arguments)
    assert status == 2 and message in errors and errors.count("\n") == 1


def test_the_options_of_the_lists_are_recorded(prepared: Path, command) -> None:
    record = json.loads(Path("anno/tiny_options.json").read_text())
    assert record["seed"] == 0 and record["options"]["test_per_category"] == 2
    assert record["options"]["protocol"] == "seen" and record["revision"] and record["versions"]["pillow"]
    for name, digest in record["sha256"].items():
        assert hashlib.sha256(Path("anno", name).read_bytes()).hexdigest() == digest
    assert set(record["sha256"]) == {"tiny_sketch.json", "tiny_photo.json"}


def test_force_backs_up_the_old_lists(prepared: Path, command) -> None:
    names = ("tiny_sketch.json", "tiny_photo.json", "tiny_options.json")
    before = {name: Path("anno", name).read_text() for name in names}
    assert command("prepare", "--test_per_category=2", "--force")[0] == 0
    assert not list(Path("anno").glob("*.old*"))  # the same lists
    for number in (1, 2):
        status, output, errors = command("prepare", f"--test_per_category={number}", "--force", "--seed=3")
        assert status == 0, errors
        assert f"tiny_sketch.old{number}.json" in output
    for name in names[:2]:
        assert Path("anno", name.replace(".json", ".old1.json")).read_text() == before[name]
    old = json.loads(Path("anno/tiny_options.old2.json").read_text())
    assert old["options"]["test_per_category"] == 1 and old["seed"] == 3


def test_lists_go_to_the_current_folder(tree: Path) -> None:
    assert main.main(["--phase=prepare", "--dataset=tiny", "--test_per_category=2"]) == 0
    assert Path("anno/tiny_sketch.json").is_file()
