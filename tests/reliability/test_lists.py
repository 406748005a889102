"""Annotation lists and data folders of any making: refused by name, and nothing outside is opened."""

import json
import os
import shutil
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from datasets.annotations import Annotation, load_annotation, read_list
from tests.conftest import CATEGORIES, SMALL_RUN, draw_tree
from tests.victims import Zygote
from utils import checkpoints
from utils.errors import UserError

FIRST = "sketches/cat/0.png"


def lists(number: Callable[[int], Any] = int) -> dict[str, dict[str, list]]:
    """Sound lists of the tree of `draw_tree`; `number` gives the label of a category."""
    sketches = {
        part: [[f"sketches/{c}/{i}.png", number(label)] for label, c in enumerate(CATEGORIES) for i in chosen]
        for part, chosen in (("train", (0, 1)), ("test", (2, 3)))
    }
    photos = [[f"photos/{c}/{i}.png", number(label)] for label, c in enumerate(CATEGORIES) for i in range(3)]
    return {"sketch": sketches, "photo": {"train": photos, "test": photos}}


def write(content: dict[str, dict[str, list]]) -> None:
    Path("anno").mkdir(exist_ok=True)
    for domain, part in content.items():
        Path(f"anno/tiny_{domain}.json").write_text(json.dumps(part), encoding="utf-8")


def load() -> Annotation:
    return load_annotation(Path("datasets/data"), Path("anno"), "tiny")


def refused(*texts: str) -> None:
    with pytest.raises(UserError) as error:
        load()
    message = str(error.value)
    assert all(text in message for text in texts), message
    assert "\n" not in message and len(message) < 1000


OUTSIDE = {
    "above": "../secret/0.png",
    "further above": "sketches/cat/../../../secret/0.png",
    "absolute": "{secret}/0.png",
    "absolute, in disguise": "//{secret}/0.png",
    "backslashes": "sketches\\cat\\0.png",
    "backslashes above": "..\\..\\secret\\0.png",
    "absolute on Windows": "C:\\data\\tiny\\sketches\\cat\\0.png",
    "NUL": "sketches/cat/0.png\0.txt",
    "half a character": "sketches/cat/\udce9.png",
    "a character of none": "sketches/cat/\ud800.png",
    "the folder itself": ".",
    "nothing": "",
    "a file alone": "0.png",
}
ABSOLUTE = "it is absolute; write paths relative to the data set's folder, for example sketches/cat/1.png"
WHAT_TO_WRITE = {
    "absolute": ABSOLUTE,
    "absolute on Windows": ABSOLUTE,
    "backslashes": "it has backslashes; write / instead",
    "nothing": "write paths relative to the data set's folder",
    "a file alone": "write paths relative to the data set's folder",
}


@pytest.mark.parametrize("kind", OUTSIDE)
@pytest.mark.parametrize("domain", ["sketch", "photo"])
def test_paths_that_lead_nowhere_or_out(tree: Path, kind: str, domain: str) -> None:
    content = lists()
    path = OUTSIDE[kind].format(secret=tree.parents[2] / "secret")
    content[domain]["test"] = [[path, 1], *content[domain]["test"]]
    write(content)
    refused(f"anno/tiny_{domain}.json", "not a path below the data set's folder", ascii(path)[1:10])
    if kind in WHAT_TO_WRITE:
        refused(WHAT_TO_WRITE[kind])


LABELS: dict[str, tuple[Callable[[int], Any], bool]] = {
    "from zero": (int, True),
    "sparse": (lambda label: 1000 * label + 3, True),
    "huge": (lambda label: 10**100 + label, True),
    "backwards": (lambda label: 9 - label, True),
    "negative": (lambda label: label - 1, False),
    "texts": (str, False),
    "floats": (float, False),
    "booleans": (bool, False),
    "nothing": (lambda _: None, False),
    "lists": (lambda label: [label], False),
    "not a number": (lambda _: float("nan"), False),
    "infinite": (lambda _: float("inf"), False),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels(tree: Path, kind: str) -> None:
    number, good = LABELS[kind]
    write(lists(number))
    if not good:
        refused("anno/tiny_sketch.json")
        return
    data = load()
    order = sorted(range(len(CATEGORIES)), key=number)
    assert data.categories == [CATEGORIES[each] for each in order]
    assert {label for _, label in data.gallery} == {0, 1, 2}


def test_labels_that_differ_between_the_lists(tree: Path) -> None:
    content = lists()
    content["photo"] = lists(lambda label: (label + 1) % 3)["photo"]  # the same ones, on other categories
    write(content)
    refused("anno/tiny_photo.json gives the photos of bear (animal) the label 1", "bear (animal) the label 0")
    content["photo"] = lists(lambda label: label + 1)["photo"]
    write(content)
    refused("anno/tiny_sketch.json", "no training sketch for label 3")


@pytest.mark.parametrize(("domain", "part"), [("sketch", "train"), ("sketch", "test"), ("photo", "test")])
def test_entries_given_twice(tree: Path, domain: str, part: str) -> None:
    content = lists()
    path, label = content[domain][part][0]
    content[domain][part] = [*content[domain][part], [path.replace("/", "/./"), label]]
    write(content)
    refused(f"anno/tiny_{domain}.json", "more than once", path)


CONTENTS: dict[str, bytes] = {
    "empty": b"",
    "blank": b" \n",
    "not UTF-8": '{"train": [["sketches/café/0.png", 0]], "test": []}'.encode("latin-1"),
    "UTF-16": '{"train": [], "test": []}'.encode("utf-16"),
    "lists in lists": b'{"train": ' + b"[" * 10**6 + b"]" * 10**6 + b', "test": []}',
    "dicts in dicts": b'{"train":' * 10**5,
    "NaN": b'{"train": [["sketches/cat/0.png", NaN]], "test": []}',
    "Infinity": b'{"train": [["sketches/cat/0.png", -Infinity]], "test": []}',
    "endless digits": b'{"train": [["sketches/cat/0.png", ' + b"9" * 10**5 + b']], "test": []}',
    "a number": b"7",
    "texts": b'{"train": "all", "test": "none"}',
    "one part": b'{"train": []}',
    "cut off": json.dumps(lists()["sketch"]).encode()[:-9],
    "pictures": b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
    "no entries": b'{"train": [], "test": []}',
    "longer entries": b'{"train": [["sketches/cat/0.png", 0, 1]], "test": []}',
    "entries of entries": b'{"train": [[["sketches/cat/0.png", 0]]], "test": []}',
}


@pytest.mark.parametrize("kind", CONTENTS)
@pytest.mark.parametrize("domain", ["sketch", "photo"])
def test_files_that_are_no_lists(tree: Path, kind: str, domain: str) -> None:
    write(lists())
    Path(f"anno/tiny_{domain}.json").write_bytes(CONTENTS[kind])
    refused("anno/tiny_sketch.json" if (kind, domain) == ("no entries", "sketch") else "anno/tiny_")


@pytest.mark.parametrize("coding", ["utf-16", "utf-16-le", "utf-32"])
def test_a_list_in_another_coding_is_called_so(tree: Path, coding: str) -> None:
    write(lists())
    path = Path("anno/tiny_sketch.json")
    path.write_bytes(path.read_text().encode(coding))
    refused("cannot read anno/tiny_sketch.json", f"it is {coding[:6].upper()}: save it as UTF-8")


@pytest.mark.parametrize("domain", ["sketch", "photo"])
def test_a_list_as_windows_writes_it(tree: Path, domain: str) -> None:
    write(lists())
    whole = load()
    path = Path(f"anno/tiny_{domain}.json")
    path.write_bytes(
        json.dumps(json.loads(path.read_text()), indent=1).replace("\n", "\r\n").encode("utf-8-sig")
    )
    assert load() == whole
    content = lists()
    content[domain]["test"].insert(0, ["C:/tiny/sketches/cat/0.png", 1])
    write(content)
    refused("C:/tiny/sketches/cat/0.png", "is an absolute Windows path; write paths relative to")
    content[domain]["test"][0] = ["tiny/sketches/cat/0.png", 1]
    write(content)
    refused("first tiny/sketches/cat/0.png; write paths relative to the data set's folder")


SPELLINGS = ("NFC", "NFD")


@pytest.mark.parametrize("listed", SPELLINGS)
@pytest.mark.parametrize("on_disk", SPELLINGS)
def test_both_spellings_of_unicode_are_one_name(tree: Path, listed: str, on_disk: str) -> None:
    """A list made on one system, the files copied by another: what is opened is what is on the disk."""
    for domain in ("sketches", "photos"):
        cats = (tree / domain / "cat").rename(tree / domain / spelled("café", on_disk))
        (cats / "0.png").rename(cats / spelled("é.png", on_disk))
    (tree / "sketches/hot-dog/1.png").rename(tree / "sketches/hot-dog" / spelled("ñ.png", on_disk))
    content = json.dumps(lists(), ensure_ascii=False).replace("/cat/0", "/cat/é").replace("cat", "café")
    content = content.replace("sketches/hot-dog/1", "sketches/hot-dog/ñ")
    write(json.loads(spelled(content, listed)))
    data = load()
    assert data.categories == ["bear (animal)", "café", "hot-dog"]
    folder = f"sketches/{spelled('café', on_disk)}/"
    assert [name for name, label in data.train_sketches if label == 1] == [
        folder + spelled("é.png", on_disk),
        folder + "1.png",
    ]
    for name, _ in data.train_sketches + data.gallery:
        assert (tree / name).is_file()
    gone = spelled("photos/café/é.png", listed)
    assert len(data.without([gone]).gallery) == len(data.gallery) - 1
    (tree / spelled("photos/café/é.png", on_disk)).unlink()
    assert len(load_annotation(Path("datasets/data"), Path("anno"), "tiny", [gone]).gallery) == 8
    refused("anno/tiny_photo.json names 1 files that are not in", gone)
    Path("anno/tiny_photo.json").unlink()
    assert load().train_sketches == data.train_sketches and len(load().gallery) == 8  # from the folder


def test_the_digest_of_lists_does_not_depend_on_the_spelling(tree: Path) -> None:
    content = json.dumps(lists(), ensure_ascii=False).replace("cat", "café")
    write(json.loads(content))
    digests = set()
    for form in SPELLINGS:
        for domain in ("sketches", "photos"):
            next((tree / domain).glob("ca*")).rename(tree / domain / spelled("café", form))
        digests.add(load().digest())
    assert len(digests) == 1


def spelled(text: str, form: Any) -> str:
    return unicodedata.normalize(form, text)


def test_a_name_twice_in_both_spellings(tree: Path, command) -> None:
    for form in SPELLINGS:
        shutil.copytree(tree / "sketches/cat", tree / "sketches" / spelled("café", form))
    status, _, errors = command("prepare", "--test_per_category=2")
    assert status == 2 and "twice, in both spellings of Unicode" in errors and "'cafe\\u0301'" in errors
    content = lists()
    content["sketch"]["test"] += [[f"sketches/{spelled('café', form)}/0.png", 1] for form in SPELLINGS]
    write(content)
    refused("anno/tiny_sketch.json names 1 files more than once")


def test_a_list_that_is_no_file(tree: Path) -> None:
    write(lists())
    path = Path("anno/tiny_sketch.json")
    path.unlink()
    os.mkfifo(path)  # nobody writes into it: whoever opens it waits for ever
    refused("no list anno/tiny_sketch.json")
    path.unlink()
    with path.open("wb") as file:
        file.truncate(2**40)  # a TiB of holes
    refused("anno/tiny_sketch.json has more than 256 MiB")


def test_what_is_named_is_no_file(tree: Path) -> None:
    write(lists())
    victim = tree / FIRST
    for make in (Path.mkdir, os.mkfifo, lambda path: path.symlink_to("absent.png"), circle):
        victim.rename("kept.png")
        make(victim)
        refused("anno/tiny_sketch.json names 1 files that are not in", FIRST)
        victim.rmdir() if victim.is_dir() else victim.unlink()
        Path("kept.png").rename(victim)
    assert load().categories == list(CATEGORIES)


def circle(path: Path) -> None:
    path.symlink_to(path)


def test_links_that_stay_inside(tree: Path) -> None:
    write(lists())
    whole = load()
    (tree / "kept").mkdir()
    shutil.move(tree / "photos/cat", tree / "kept/cats")
    (tree / "photos/cat").symlink_to("../kept/cats")
    (tree / FIRST).rename(tree / "kept/sketch.png")
    (tree / FIRST).symlink_to(tree.resolve() / "kept/sketch.png")
    assert load() == whole
    tree.rename("elsewhere")
    tree.symlink_to(Path("elsewhere").resolve())  # the whole data set, by a link
    (tree / FIRST).unlink()
    (tree / FIRST).symlink_to("../../kept/sketch.png")
    assert load() == whole


@pytest.mark.parametrize("linked", [FIRST, "sketches/cat", "sketches", "photos/cat/0.png", "photos"])
@pytest.mark.parametrize("photo_list", [True, False])
def test_links_that_lead_out(tree: Path, command, linked: str, photo_list: bool) -> None:
    content = lists()
    write(content if photo_list else {"sketch": content["sketch"]})
    outside = tree.parents[2] / "outside"
    shutil.move(tree / linked, outside)
    (tree / linked).symlink_to(outside)
    for phase, arguments in (("train", SMALL_RUN), ("prepare", ("--test_per_category=2", "--force"))):
        status, _, errors = command(phase, *arguments)
        assert status == 2 and errors.startswith("error: ") and errors.count("\n") == 1
        assert (
            linked in errors and "make that folder itself the link, or copy what is linked into it" in errors
        )
        if phase == "train" and photo_list:
            assert f"anno/tiny_{'sketch' if linked.startswith('sketches') else 'photo'}.json names" in errors


@pytest.mark.parametrize("name", [b"caf\xe9.png", b"a\\b.png"])
def test_names_that_no_list_can_hold(tree: Path, command, name: bytes) -> None:
    (tree / FIRST).rename(os.fsdecode(os.fsencode(tree / "sketches/cat") + b"/" + name))
    status, _, errors = command("prepare", "--test_per_category=2")
    assert status == 2 and "which lists cannot hold" in errors and "sketches/cat/" in errors
    assert not Path("anno").exists()


@pytest.mark.parametrize("count", [10_000, pytest.param(1_000_000, marks=pytest.mark.long)])
def test_long_lists_are_read_and_checked_in_seconds(tmp_path: Path, count: int, ledger) -> None:
    root, anno = tmp_path / "tiny", tmp_path / "anno"
    anno.mkdir()
    each = count // 4 // 100
    for domain in ("sketch", "photo"):
        folder = "sketches" if domain == "sketch" else "photos"
        for category in range(100):
            (root / folder / f"c{category}").mkdir(parents=True)
            for number in range(each):
                os.mknod(root / folder / f"c{category}/{number}.png")
        entries = [[f"{folder}/c{c}/{n}.png", c] for c in range(100) for n in range(each)]
        half = len(entries) // 2
        parts = (entries, entries)
        if domain == "sketch":
            entries.sort(key=lambda entry: int(Path(entry[0]).stem))
            parts = (entries[:half], entries[half:])
        content = json.dumps(dict(zip(("train", "test"), parts, strict=True)))
        (anno / f"tiny_{domain}.json").write_text(content)
    start = time.monotonic()
    data = load_annotation(tmp_path, anno, "tiny")
    seconds = time.monotonic() - start
    data.digest()
    assert len(data.train_sketches) + len(data.test_sketches) == count // 4
    (anno / "big.json").write_text(json.dumps({"train": [[FIRST, 0]] * count, "test": []}))
    start = time.monotonic()
    assert len(read_list(anno / "big.json")["train"]) == count
    reading = time.monotonic() - start
    assert max(seconds, reading) < 60
    ledger(
        3,
        "a list with so many entries",
        times=count,
        outcome=f"read in {reading:.0f} s; 0.75 times as many, with their files, checked in {seconds:.0f} s",
    )


class Watch:
    """Runs commands in a folder and sees to it that nothing in `secret` is opened, listed or changed."""

    def __init__(self, zygote: Zygote, home: Path, secret: Path) -> None:
        self.zygote, self.home, self.secret = zygote, home, secret.resolve()

    def run(self, status: int, *commands: list[str]) -> set[Path]:
        """All that was opened by `commands`, each of which must end with `status`."""
        opened = self.home / "opened.txt"
        places: set[Path] = set()
        for each in commands:
            common = ["--dataset=tiny", "--anno_path=anno", "--num_workers=0", "--device=cpu"]
            done = self.zygote.start(self.home, *each, *common, opened=opened)
            assert done.wait() == status, done.text()
            assert "Traceback" not in done.text() and "password" not in done.text()
            places |= {Path(json.loads(line)) for line in opened.read_text().splitlines()}
        assert not [place for place in places if place.is_relative_to(self.secret)]
        return places


def test_nothing_outside_the_data_set_is_opened(tree: Path, zygote: Zygote) -> None:
    """Secrets beside the data set, listed and linked in every way: no phase opens, lists or changes one."""
    home = tree.parents[2]
    secret = draw_tree(home / "secret", sketches=4, photos=3)
    (secret / "lines.txt").write_text("--seed=1\n--password=secret\n")
    mine = home / "mine"
    mine.mkdir()
    shutil.copy(tree / "photos/cat/0.png", mine / "a.png")
    (mine / "out.png").symlink_to(secret / "photos/cat/0.png")
    (mine / "folder").symlink_to(secret / "photos")
    watch = Watch(zygote, home, secret)
    prepare = ["--phase=prepare", "--test_per_category=2", "--force"]
    search = ["--phase=search", "--save_path=run", f"--query={tree / FIRST}"]
    train, test, index = (
        ["--phase=train", *SMALL_RUN],
        *([f"--phase={p}", "--save_path=run"] for p in ("test", "index")),
    )
    opened = watch.run(0, prepare, train, search, [*search, f"--gallery={mine}"])
    assert {(tree / FIRST).resolve(), (mine / "a.png").resolve()} <= opened  # it does watch

    sound = {path: path.read_bytes() for path in Path("anno").iterdir()}
    for kind, domain in (("above", "sketch"), ("absolute", "photo"), ("backslashes above", "photo")):
        content = lists()
        content[domain]["test"].insert(0, [OUTSIDE[kind].format(secret=secret), 1])
        write(content)
        watch.run(2, test, index)
    watch.run(2, train, [*train, "--save_path=another"], search)
    for path, whole in sound.items():
        path.write_bytes(whole)

    for linked in (FIRST, "photos/cat", "sketches"):
        shutil.move(tree / linked, "kept")
        (tree / linked).symlink_to(secret / linked)
        watch.run(2, prepare, [*train, "--save_path=another"], test)
        (tree / linked).unlink()
        shutil.move("kept", tree / linked)

    checkpoint = Path("logs/run/model/checkpoint-4.pt")
    state = checkpoints.load(checkpoint)
    for name, value in (
        ("dataset", "../../secret"),
        ("dataset", str(secret)),
        ("image_size", [f"@{secret}/lines.txt"]),
        ("image_size", f"@{secret}/lines.txt"),
    ):
        torch.save({**state, "options": {**state["options"], name: value}}, checkpoint)
        watch.run(2, test, search)
