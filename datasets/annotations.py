"""Annotation lists: which image belongs to which category, for training and for test (docs/method.md, Files).

One JSON file per domain, `<dataset>_sketch.json` and `<dataset>_photo.json`:
`{"train": [["sketches/cat/1.png", 0], ...], "test": [...]}`, paths relative to the data set's folder, label
ids shared by both files. This is the format of the published lists; photo lists repeat every photo in both
parts. In zero-shot lists no label is in both parts: test categories are unseen in training.
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
    check_agreement,
    check_labels,
    check_repeats,
    collect_labels,
    locate_files,
    parse_category,
)
from utils.errors import UserError
from utils.files import read_json
from utils.names import is_utf8, normalize_unicode

MAX_LIST_BYTES = 2**28  # some five million entries


@dataclass(frozen=True)
class Annotation:
    """The validated lists of one data set: every file exists, labels run from 0 to len(categories) - 1.

    The first `num_train_classes` categories are the training classes: all of them, except in zero-shot lists.
    `excluded` are the unreadable images that were dropped; `full_digest` is then the digest of the full
    lists.
    """

    root: Path
    categories: list[str]
    train_sketches: list[Entry]
    test_sketches: list[Entry]
    train_photos: list[Entry]
    gallery: list[Entry]
    num_train_classes: int
    excluded: tuple[str, ...] = ()
    full_digest: str = ""

    @property
    def zero_shot(self) -> bool:
        """Whether the test categories are unseen in training."""
        return self.num_train_classes < len(self.categories)

    def digest(self) -> str:
        """A hash of the full lists, excluded images included: equal for runs on the same data set.

        It does not depend on whether file names are in composed or decomposed Unicode.
        """
        if self.full_digest:
            return self.full_digest
        parts = (self.train_sketches, self.test_sketches, self.train_photos, self.gallery)
        lists = [[(normalize_unicode(name), label) for name, label in part] for part in parts]
        return hashlib.sha256(json.dumps(lists).encode()).hexdigest()

    def without(self, names: Collection[str]) -> "Annotation":
        """The same lists without the images `names`; names that are not listed are ignored.

        Raises UserError if this leaves a category without training images, test sketches or gallery photos.
        """
        if not names:
            return self
        gone = {normalize_unicode(name) for name in names}
        parts = ("train_sketches", "test_sketches", "train_photos", "gallery")
        left: dict[str, Any] = {}
        for part in parts:
            entries = getattr(self, part)
            left[part] = [entry for entry in entries if normalize_unicode(entry[0]) not in gone]
            emptied = collect_labels(entries) - collect_labels(left[part])
            if emptied:
                raise UserError(
                    f"no image of {self.categories[min(emptied)]} in {part.replace('_', ' ')} can be read "
                    f"({len(emptied)} categories in all); repair some below {self.root}, or make lists "
                    "without these categories"
                )
        present = {name for part in parts for name, _ in getattr(self, part)}
        excluded = tuple(
            sorted({*self.excluded, *(name for name in present if normalize_unicode(name) in gone)})
        )
        return replace(self, **left, excluded=excluded, full_digest=self.digest())


def list_path(anno_path: Path, dataset: str, domain: str) -> Path:
    """Path of the list of `domain` ("sketch" or "photo")."""
    return anno_path / f"{dataset}_{domain}.json"


def load_annotation(
    data_path: Path,
    anno_path: Path,
    dataset: str,
    excluded: Collection[str] = (),
    *,
    training: bool = True,
) -> Annotation:
    """Read and validate both lists of `dataset`, whose images are in `data_path`/`dataset`.

    Without a photo list (the published photo lists are not in circulation) photos are listed from the folder
    and get the label ids of the sketch list. Label ids are mapped to 0, 1, ... in ascending order. `excluded`
    images may be missing. Without `training`, lists may have only test sketches; all categories then count as
    training classes. Raises UserError, naming file and entry, for anything that would break a training or a
    test, and for links that lead out of the data set's folder.
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
    photos = read_list(photo_list) if photo_list.is_file() else list_photos(root, sketches)
    for part, entries in sketches.items():
        if not entries and (training or part == "test"):
            raise UserError(f"{sketch_list} names no {part} sketches")
    if not sketches["train"]:
        photos = {**photos, "train": []}  # or they would count as photos of other categories
    check_repeats(sketch_list, sketches["train"] + sketches["test"])
    for entries in photos.values():  # separately: the protocol trains on the photos of the gallery
        check_repeats(photo_list, entries)
    labels, trained = check_labels(sketches, photos, sketch_list, photo_list, training=training)
    check_agreement(sketches, photos, sketch_list, photo_list)
    sketches = locate_files(root, sketch_list, sketches, excluded)
    photos = locate_files(root, photo_list, photos, excluded)
    number = {label: index for index, label in enumerate(labels)}
    sketches, photos = renumber(sketches, number), renumber(photos, number)
    names = {
        label: parse_category(path)
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
    return whole.without(excluded)


def renumber(lists: Lists, number: dict[int, int]) -> Lists:
    return {part: [(path, number[label]) for path, label in entries] for part, entries in lists.items()}


def read_list(path: Path) -> Lists:
    """The "train" and "test" entries of one list. Raises UserError if the file has another format."""
    if path.stat().st_size > MAX_LIST_BYTES:
        raise UserError(f"{path} has more than {MAX_LIST_BYTES >> 20} MiB: it is no list of images")
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
            # without pathlib, which takes ten times as long for a million entries
            parts = [piece for piece in name.split("/") if piece not in ("", ".")]
            outside = name.startswith("/") or ".." in parts or "\\" in name or "\0" in name
            if len(parts) < 2 or outside or not is_utf8(name):
                raise UserError(
                    f"{list_file}: {name[:200]!r} in {part!r} is not a path below the data set's folder"
                    + explain_path(name)
                )
            return "/".join(parts), label
    raise UserError(f"{list_file}: {str(entry)[:200]} in {part!r} is not a [path, label >= 0] pair")


def explain_path(name: str) -> str:
    """End of an error message: what is wrong with a listed path, and the remedy."""
    if name.startswith("/") or re.match(r"[A-Za-z]:[/\\]|\\\\", name):
        return f": it is absolute; {WRITE_BELOW}"
    if "\\" in name:
        return ": it has backslashes; write / instead"
    return f"; {WRITE_BELOW}"


def list_photos(root: Path, sketches: Lists) -> Lists:
    """List the photos of the sketch list's categories, with its labels, as both "train" and "test".

    For a zero-shot list: training categories as "train", the others as "test".
    """
    label_of = {parse_category(path): label for part in sketches.values() for path, label in part}
    tree = list_images(root / "photos")
    pairs, unpaired, _ = pair_categories(sorted(label_of), list(tree))
    if unpaired:
        raise UserError(
            f"no folder in {root / 'photos'} for {len(unpaired)} categories: {', '.join(unpaired[:5])}"
        )
    photos = [(f"photos/{pairs[c]}/{name}", label_of[c]) for c in sorted(pairs) for name in tree[pairs[c]]]
    train, test = (collect_labels(sketches[part]) for part in ("train", "test"))
    if train & test or not train:
        return {"train": photos, "test": photos}
    return {
        part: [entry for entry in photos if entry[1] in labels]
        for part, labels in (("train", train), ("test", test))
    }
