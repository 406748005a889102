"""Annotation lists: which image belongs to which category, for training and for test (docs/method.md, Files).

One JSON file per domain, `<dataset>_sketch.json` and `<dataset>_photo.json`:
`{"train": [["sketches/cat/1.png", 0], ...], "test": [...]}`, paths relative to the data set's folder, label
ids shared by both files. The published lists have this form; photo lists repeat every photo in both parts.
Zero-shot lists have it too, with no label in both parts: what is tested was never trained on.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from datasets.folders import list_images, pair_categories
from datasets.list_checks import (
    WRITE_BELOW,
    Entry,
    Lists,
    category_of,
    check_agreement,
    check_labels,
    check_repeats,
    labels_of,
    locate_files,
)
from utils.errors import UserError
from utils.files import read_json
from utils.names import compose_unicode, is_utf8

LARGEST = 2**28  # bytes of a list: some five million entries


@dataclass(frozen=True)
class Annotation:
    """The lists of one data set, checked: every file is there, labels run from 0 to len(categories) - 1.

    The first `trained` categories are those trained on: all of them, but for zero-shot lists. Images that
    cannot be read may be `left_out` of the lists; `full_digest` is the digest of the whole ones then.
    """

    root: Path
    categories: list[str]
    train_sketches: list[Entry]
    test_sketches: list[Entry]
    train_photos: list[Entry]
    gallery: list[Entry]
    num_train_classes: int
    left_out: tuple[str, ...] = ()
    full_digest: str = ""

    @property
    def zero_shot(self) -> bool:
        """Whether the categories that are tested were never trained on."""
        return self.num_train_classes < len(self.categories)

    def digest(self) -> str:
        """A hash of the whole lists: two runs with the same one saw the same data set, as far as readable.

        A copy of the data set whose names are in Unicode's other spelling has the same one.
        """
        if self.full_digest:
            return self.full_digest
        parts = (self.train_sketches, self.test_sketches, self.train_photos, self.gallery)
        lists = [[(compose_unicode(name), label) for name, label in part] for part in parts]
        return hashlib.sha256(json.dumps(lists).encode()).hexdigest()

    def without(self, names: Collection[str]) -> "Annotation":
        """The same lists with the images `names` left out, those among them that are in one.

        Raises UserError if a category had images for training, for test or to be found, and has none then.
        """
        if not names:
            return self
        gone = {compose_unicode(name) for name in names}
        parts = ("train_sketches", "test_sketches", "train_photos", "gallery")
        left: dict[str, Any] = {}
        for part in parts:
            entries = getattr(self, part)
            left[part] = [entry for entry in entries if compose_unicode(entry[0]) not in gone]
            emptied = labels_of(entries) - labels_of(left[part])
            if emptied:
                raise UserError(
                    f"no image of {self.categories[min(emptied)]} in {part.replace('_', ' ')} can be read "
                    f"({len(emptied)} categories in all); repair some below {self.root}, or make lists "
                    "without these categories"
                )
        present = {name for part in parts for name, _ in getattr(self, part)}
        left_out = tuple(
            sorted({*self.left_out, *(name for name in present if compose_unicode(name) in gone)})
        )
        return replace(self, **left, left_out=left_out, full_digest=self.digest())


def list_path(anno_path: Path, dataset: str, domain: str) -> Path:
    """Where the list of `domain` ("sketch" or "photo") lies."""
    return anno_path / f"{dataset}_{domain}.json"


def load_annotation(
    data_path: Path,
    anno_path: Path,
    dataset: str,
    left_out: Collection[str] = (),
    *,
    training: bool = True,
) -> Annotation:
    """Read and check both lists of `dataset`, whose images lie in `data_path`/`dataset`.

    Without a photo list (the published photo lists are not in circulation) the photos are listed from the
    folder, under the label ids of the sketch list. Label ids are mapped to 0, 1, ... in their order. Images
    that are `left_out` need not be there. Without `training`, lists may have test sketches alone; all
    categories count as trained on then. Raises UserError that names file and entry for anything that
    training or test would stumble over, and for links that lead out of the data set's folder.
    """
    root = data_path / dataset
    sketch_list, photo_list = (list_path(anno_path, dataset, domain) for domain in ("sketch", "photo"))
    if not root.is_dir():
        raise UserError(f"no folder {root}; check --dataset, or name with --data_path where it is now")
    if not sketch_list.is_file():
        raise UserError(
            f"no list {sketch_list}; make it with: python main.py --phase=prepare "
            f"--dataset={shlex.quote(dataset)} --data_path={shlex.quote(str(data_path))} "
            f"--anno_path={shlex.quote(str(anno_path))}, or put the published list there"
        )
    sketches = read_list(sketch_list)
    photos = read_list(photo_list) if photo_list.is_file() else photos_from_folder(root, sketches)
    for part, entries in sketches.items():
        if not entries and (training or part == "test"):
            raise UserError(f"{sketch_list} names no {part} sketches")
    if not sketches["train"]:
        photos = {**photos, "train": []}  # not to be taken for the photos of other categories
    check_repeats(sketch_list, sketches["train"] + sketches["test"])
    for entries in photos.values():  # each by itself: photos are trained on and searched, by the protocol
        check_repeats(photo_list, entries)
    labels, trained = check_labels(sketches, photos, sketch_list, photo_list, training=training)
    check_agreement(sketches, photos, sketch_list, photo_list)
    sketches = locate_files(root, sketch_list, sketches, left_out)
    photos = locate_files(root, photo_list, photos, left_out)
    number = {label: index for index, label in enumerate(labels)}
    sketches, photos = renumber(sketches, number), renumber(photos, number)
    names = {
        label: category_of(path)
        for part in (photos["test"], sketches["test"], sketches["train"])
        for path, label in part
    }
    whole = Annotation(
        root=root,
        categories=[names[index] for index in range(len(labels))],
        train_sketches=sketches["train"],
        test_sketches=sketches["test"],
        train_photos=photos["train"],
        gallery=photos["test"],
        num_train_classes=trained,
    )
    return whole.without(left_out)


def renumber(lists: Lists, number: dict[int, int]) -> Lists:
    return {part: [(path, number[label]) for path, label in entries] for part, entries in lists.items()}


def read_list(path: Path) -> Lists:
    """The "train" and "test" entries of one list. Raises UserError if the file is not of that form."""
    if path.stat().st_size > LARGEST:
        raise UserError(f"{path} has more than {LARGEST >> 20} MiB: it is no list of images")
    try:
        content = read_json(path)
    except ValueError as error:
        raise UserError(f"cannot read {path}: {error}") from error
    if not isinstance(content, dict) or not all(isinstance(content.get(p), list) for p in ("train", "test")):
        raise UserError(f'{path} must be of the form {{"train": [[path, label], ...], "test": [...]}}')
    return {part: [parse_entry(path, part, entry) for entry in content[part]] for part in ("train", "test")}


def parse_entry(list_file: Path, part: str, entry: object) -> Entry:
    match entry:
        case [str() as name, int() as label] if not isinstance(label, bool) and label >= 0:
            # by hand: for a million entries, pathlib takes ten times as long
            parts = [each for each in name.split("/") if each not in ("", ".")]
            outside = name.startswith("/") or ".." in parts or "\\" in name or "\0" in name
            if len(parts) < 2 or outside or not is_utf8(name):
                raise UserError(
                    f"{list_file}: {name[:200]!r} in {part!r} is not a path below the data set's folder"
                    + explain_path(name)
                )
            return "/".join(parts), label
    raise UserError(f"{list_file}: {str(entry)[:200]} in {part!r} is not a [path, label >= 0] pair")


def explain_path(name: str) -> str:
    """What is wrong with a path in a list, and what to do, as the end of a message."""
    if name.startswith("/") or re.match(r"[A-Za-z]:[/\\]|\\\\", name):
        return f": it is absolute; {WRITE_BELOW}"
    if "\\" in name:
        return ": it has backslashes; write / instead"
    return f"; {WRITE_BELOW}"


def photos_from_folder(root: Path, sketches: Lists) -> Lists:
    """List the photos of the sketch list's categories, under its labels, as both "train" and "test".

    For a zero-shot list, those of the categories trained on as "train" and of the others as "test".
    """
    label_of = {category_of(path): label for part in sketches.values() for path, label in part}
    tree = list_images(root / "photos")
    pairs, lone, _ = pair_categories(sorted(label_of), list(tree))
    if lone:
        raise UserError(f"no folder in {root / 'photos'} for {len(lone)} categories: {', '.join(lone[:5])}")
    photos = [(f"photos/{pairs[c]}/{name}", label_of[c]) for c in sorted(pairs) for name in tree[pairs[c]]]
    train, test = (labels_of(sketches[part]) for part in ("train", "test"))
    if train & test or not train:
        return {"train": photos, "test": photos}
    return {
        part: [each for each in photos if each[1] in own] for part, own in (("train", train), ("test", test))
    }
