"""Annotation lists: which image belongs to which category, for training and for test (SPEC section 5).

One JSON file per domain, `<dataset>_sketch.json` and `<dataset>_photo.json`:
`{"train": [["sketches/cat/1.png", 0], ...], "test": [...]}`, paths relative to the data set's folder, label
ids shared by both files. The published lists have this form; photo lists repeat every photo in both parts.
Zero-shot lists have it too, with no label in both parts: what is tested was never trained on.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from datasets.folders import list_images, pair_categories
from utils.errors import UserError

Entry = tuple[str, int]  # path relative to the data set's folder, label
Lists = dict[str, list[Entry]]  # "train" and "test"


@dataclass(frozen=True)
class Annotation:
    """The lists of one data set, checked: every file is there, labels run from 0 to len(categories) - 1.

    The first `trained` categories are those trained on: all of them, but for zero-shot lists.
    """

    root: Path
    categories: list[str]
    train_sketches: list[Entry]
    test_sketches: list[Entry]
    train_photos: list[Entry]
    gallery: list[Entry]
    trained: int

    @property
    def zero_shot(self) -> bool:
        """Whether the categories that are tested were never trained on."""
        return self.trained < len(self.categories)

    def digest(self) -> str:
        """A hash of all lists: two runs with the same one saw the same data set."""
        lists = [self.train_sketches, self.test_sketches, self.train_photos, self.gallery]
        return hashlib.sha256(json.dumps(lists).encode()).hexdigest()


def list_path(anno_path: Path, dataset: str, domain: str) -> Path:
    """Where the list of `domain` ("sketch" or "photo") lies."""
    return anno_path / f"{dataset}_{domain}.json"


def load_annotation(data_path: Path, anno_path: Path, dataset: str) -> Annotation:
    """Read and check both lists of `dataset`, whose images lie in `data_path`/`dataset`.

    Without a photo list (the published photo lists are not in circulation) the photos are listed from the
    folder, under the label ids of the sketch list. Label ids are mapped to 0, 1, ... in their order. Raises
    UserError that names file and entry for anything that training or test would stumble over.
    """
    root = data_path / dataset
    sketch_list, photo_list = (list_path(anno_path, dataset, domain) for domain in ("sketch", "photo"))
    if not root.is_dir():
        raise UserError(f"no folder {root}; check --data_path and --dataset")
    if not sketch_list.is_file():
        raise UserError(
            f"no list {sketch_list}; make it with: python main.py --phase=prepare --dataset={dataset} "
            f"--data_path={data_path} --anno_path={anno_path}, or put the published list there"
        )
    sketches = read_list(sketch_list)
    photos = read_list(photo_list) if photo_list.is_file() else photos_from_folder(root, sketches)
    for part, entries in sketches.items():
        if not entries:
            raise UserError(f"{sketch_list} names no {part} sketches")
    check_repeats(sketch_list, sketches["train"] + sketches["test"])
    for entries in photos.values():  # each by itself: photos are trained on and searched, by the protocol
        check_repeats(photo_list, entries)
    labels, trained = check_labels(sketches, photos, sketch_list, photo_list)
    check_files(root, sketch_list, sketches)
    check_files(root, photo_list, photos)
    number = {label: index for index, label in enumerate(labels)}
    sketches, photos = renumber(sketches, number), renumber(photos, number)
    names = {label: PurePosixPath(path).parts[-2] for path, label in sketches["test"] + sketches["train"]}
    return Annotation(
        root=root,
        categories=[names[index] for index in range(len(labels))],
        train_sketches=sketches["train"],
        test_sketches=sketches["test"],
        train_photos=photos["train"],
        gallery=photos["test"],
        trained=trained,
    )


def renumber(lists: Lists, number: dict[int, int]) -> Lists:
    return {part: [(path, number[label]) for path, label in entries] for part, entries in lists.items()}


def read_list(path: Path) -> Lists:
    """The "train" and "test" entries of one list. Raises UserError if the file is not of that form."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict) or not all(isinstance(content.get(p), list) for p in ("train", "test")):
        raise UserError(f'{path} must be of the form {{"train": [[path, label], ...], "test": [...]}}')
    return {part: [parse_entry(path, part, entry) for entry in content[part]] for part in ("train", "test")}


def parse_entry(list_file: Path, part: str, entry: object) -> Entry:
    match entry:
        case [str() as name, int() as label] if not isinstance(label, bool) and label >= 0:
            parts = PurePosixPath(name).parts
            if len(parts) < 2 or parts[0] == "/" or ".." in parts or "\\" in name or "\0" in name:
                raise UserError(
                    f"{list_file}: {name!r} in {part!r} is not a path below the data set's folder"
                )
            return str(PurePosixPath(name)), label
    raise UserError(f"{list_file}: {str(entry)[:200]} in {part!r} is not a [path, label >= 0] pair")


def photos_from_folder(root: Path, sketches: Lists) -> Lists:
    """List the photos of the sketch list's categories, under its labels, as both "train" and "test".

    For a zero-shot list, those of the categories trained on as "train" and of the others as "test".
    """
    label_of = {PurePosixPath(path).parts[-2]: label for part in sketches.values() for path, label in part}
    tree = list_images(root / "photos")
    pairs, lone, _ = pair_categories(sorted(label_of), list(tree))
    if lone:
        raise UserError(f"no folder in {root / 'photos'} for {len(lone)} categories: {', '.join(lone[:5])}")
    photos = [(f"photos/{pairs[c]}/{name}", label_of[c]) for c in sorted(pairs) for name in tree[pairs[c]]]
    train, test = (labels_of(sketches[part]) for part in ("train", "test"))
    if train & test:
        return {"train": photos, "test": photos}
    return {
        part: [each for each in photos if each[1] in own] for part, own in (("train", train), ("test", test))
    }


def check_repeats(list_file: Path, entries: list[Entry]) -> None:
    """Raise UserError if a file is named twice: a sketch trained on must not be tested with."""
    repeated = [name for name, count in Counter(name for name, _ in entries).items() if count > 1]
    if repeated:
        raise UserError(f"{list_file} names {len(repeated)} files more than once, first {repeated[0]}")


def check_labels(
    sketches: Lists, photos: Lists, sketch_list: Path, photo_list: Path
) -> tuple[list[int], int]:
    """The label ids, those trained on first, each part sorted, and how many are trained on.

    Training sketches and photos must share their labels. The gallery must have those too, or, in zero-shot
    lists, none of them but all of the test sketches.
    """
    parts = {
        "training sketch": (sketch_list, labels_of(sketches["train"])),
        "training photo": (photo_list, labels_of(photos["train"])),
        "test sketch": (sketch_list, labels_of(sketches["test"])),
        "gallery photo": (photo_list, labels_of(photos["test"])),
    }
    trained = parts["training sketch"][1] | parts["training photo"][1]
    tested = parts["test sketch"][1] | parts["gallery photo"][1]
    required = [("training sketch", trained), ("training photo", trained)]
    if trained & tested:
        strange = parts["test sketch"][1] - trained
        if strange:
            raise UserError(
                f"{sketch_list} has test sketches of label {min(strange)}, which is not trained on"
            )
        required.append(("gallery photo", trained | tested))
    else:
        required += [("test sketch", tested), ("gallery photo", tested)]
    for what, labels in required:
        path, present = parts[what]
        absent = sorted(labels - present)
        if absent:
            raise UserError(f"{path} has no {what} for label {absent[0]} ({len(absent)} labels in all)")
    return sorted(trained) + sorted(tested - trained), len(trained)


def labels_of(entries: list[Entry]) -> set[int]:
    return {label for _, label in entries}


def check_files(root: Path, list_file: Path, lists: Lists) -> None:
    """Raise UserError if a listed file is not there. Reads folders rather than asking file by file."""
    wanted = {name for entries in lists.values() for name, _ in entries}
    present = files_in(root, {str(PurePosixPath(name).parent) for name in wanted})
    missing = sorted(wanted - present)
    if missing:
        raise UserError(
            f"{list_file} names {len(missing)} files that are not in {root}, first {missing[0]}; make the "
            "lists anew with --phase=prepare --force, or complete the data"
        )


def files_in(root: Path, folders: Iterable[str]) -> set[str]:
    return {
        f"{folder}/{path.name}"
        for folder in folders
        if (root / folder).is_dir()
        for path in (root / folder).iterdir()
    }
