"""Validation of annotation lists."""

import os
import re
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from datasets.folders import INSTEAD_OF_LINKS, is_outside, pair_categories
from utils.errors import UserError
from utils.names import normalize_unicode

Entry = tuple[str, int]  # path relative to the data set's folder, label
Lists = dict[str, list[Entry]]  # "train" and "test"

WRITE_BELOW = "write paths relative to the data set's folder, for example sketches/cat/1.png"


def check_repeats(list_file: Path, entries: list[Entry]) -> None:
    """Raise UserError if a file is listed twice: no sketch may be in both training and test."""
    repeated = [
        name for name, count in Counter(normalize_unicode(name) for name, _ in entries).items() if count > 1
    ]
    if repeated:
        raise UserError(f"{list_file} names {len(repeated)} files more than once, first {repeated[0]}")


def check_labels(
    sketches: Lists, photos: Lists, sketch_list: Path, photo_list: Path, *, training: bool = True
) -> tuple[list[int], int]:
    """The label ids, training classes first, both parts sorted; and the number of training classes.

    Training sketches and photos must have the same labels. The gallery must have them too, or, in zero-shot
    lists, exactly the labels of the test sketches. The training parts are only checked if `training`. Lists
    without training entries count all labels as training classes.
    """
    parts = {
        "training sketch": (sketch_list, collect_labels(sketches["train"])),
        "training photo": (photo_list, collect_labels(photos["train"])),
        "test sketch": (sketch_list, collect_labels(sketches["test"])),
        "gallery photo": (photo_list, collect_labels(photos["test"])),
    }
    trained = parts["training sketch"][1] | parts["training photo"][1]
    tested = parts["test sketch"][1] | parts["gallery photo"][1]
    required = [("training sketch", trained), ("training photo", trained)] if training else []
    if trained & tested:
        unseen = parts["test sketch"][1] - trained
        if unseen:
            raise UserError(
                f"{sketch_list} has test sketches of label {min(unseen)}, which is not in the training part"
            )
        required.append(("gallery photo", trained | tested))
    else:
        required += [("test sketch", tested if trained else set()), ("gallery photo", tested)]
    for what, labels in required:
        path, present = parts[what]
        absent = sorted(labels - present)
        if absent:
            raise UserError(f"{path} has no {what} for label {absent[0]} ({len(absent)} labels in all)")
    return sorted(trained) + sorted(tested - trained), len(trained or tested)


def check_agreement(sketches: Lists, photos: Lists, sketch_list: Path, photo_list: Path) -> None:
    """Raise UserError if a category has different labels in the two lists."""
    of_sketches, of_photos = group_labels(sketches), group_labels(photos)
    pairs, _, _ = pair_categories(sorted(of_sketches), sorted(of_photos))
    for name, folder in pairs.items():
        here, there = of_sketches[name], of_photos[folder]
        if not here & there:
            raise UserError(
                f"{photo_list} gives the photos of {folder} the label {min(there)}, {sketch_list} the "
                f"sketches of {name} the label {min(here)}: these lists do not belong together"
            )


def group_labels(lists: Lists) -> dict[str, set[int]]:
    """Category -> its label ids."""
    labels: dict[str, set[int]] = {}
    for part in lists.values():
        for path, label in part:
            labels.setdefault(parse_category(path), set()).add(label)
    return labels


def parse_category(path: str) -> str:
    """The category of a listed file, in composed Unicode."""
    return normalize_unicode(path.rsplit("/", 2)[-2])


def collect_labels(entries: list[Entry]) -> set[int]:
    return {label for _, label in entries}


def locate_files(root: Path, list_file: Path, lists: Lists, excluded: Collection[str]) -> Lists:
    """The lists with every file named as on disk, where its Unicode may be normalised differently.

    Raises UserError if a listed file is missing, or a link leads out of `root`. Scans folders instead of
    calling stat per file. `excluded` files may be missing, but not lead out.
    """
    home = Path(os.path.realpath(root))
    listed = {name for entries in lists.values() for name, _ in entries}
    of_folder: dict[str, set[str]] = {}
    for name in listed:
        of_folder.setdefault(name.rpartition("/")[0], set()).add(name)
    present: set[str] = set()
    spelling: dict[str, str] = {}  # listed name -> name on disk, where they differ
    for folder, names in of_folder.items():
        on_disk = find_folder(root, folder)
        outside = names if is_outside(root / on_disk, home) else set()
        if not outside:
            files, links = scan_folder(root, on_disk)
            own = find_spellings(names, files, on_disk)
            spelling |= own
            linked = {name for name in names if own.get(name, name) in links}
            outside = {name for name in linked if is_outside(root / name, home)}
            present |= files
        if outside:
            raise UserError(
                f"{list_file} names {min(outside)}, which a link leads out of {root}; {INSTEAD_OF_LINKS}"
            )
    known = {normalize_unicode(name) for name in excluded}
    missing = sorted(
        name for name in listed - present - set(spelling) if normalize_unicode(name) not in known
    )
    if missing:
        remedy = "rebuild the lists with --phase=prepare --force, or complete the data"
        if re.match("[A-Za-z]:/", missing[0]):
            remedy = "it is an absolute Windows path; " + WRITE_BELOW
        elif missing[0].startswith(f"{root.name}/"):
            remedy = WRITE_BELOW
        raise UserError(
            f"{list_file} names {len(missing)} files that are not in {root}, first {missing[0]}; {remedy}"
        )
    if not spelling:
        return lists
    return {
        part: [(spelling.get(name, name), label) for name, label in entries]
        for part, entries in lists.items()
    }


def find_folder(root: Path, folder: str) -> str:
    """The path of a folder below `root` as spelled on disk; unchanged if there is none."""
    if folder.isascii() or (root / folder).is_dir():
        return folder
    resolved = ""
    for part in folder.split("/"):
        on_disk = part
        if not part.isascii() and not (root / resolved / part).exists():
            with suppress(OSError):
                names = [path.name for path in (root / resolved).iterdir()]
                same = (name for name in names if normalize_unicode(name) == normalize_unicode(part))
                on_disk = next(same, part)
        resolved = f"{resolved}/{on_disk}" if resolved else on_disk
    return resolved


def find_spellings(names: set[str], files: set[str], folder: str) -> dict[str, str]:
    """Listed name -> name on disk, for `names` that `files` (all in `folder`) spell in other Unicode."""
    absent = [name for name in names - files if not f"{folder}{name}".isascii()]
    if not absent:
        return {}
    on_disk = {normalize_unicode(name): name for name in files}
    return {name: on_disk[normalize_unicode(name)] for name in absent if normalize_unicode(name) in on_disk}


def is_regular_file(entry: os.DirEntry) -> bool:
    """Whether it is a regular file or a link to one; False for a circular link."""
    try:
        return entry.is_file()
    except OSError:
        return False


def scan_folder(root: Path, folder: str) -> tuple[set[str], set[str]]:
    """The regular files and the links in a folder, as paths relative to `root`."""
    files: set[str] = set()
    links: set[str] = set()
    try:
        with os.scandir(root / folder) as entries:
            for entry in entries:
                name = f"{folder}/{entry.name}"
                if entry.is_symlink():
                    links.add(name)
                if is_regular_file(entry):
                    files.add(name)
    except OSError:  # missing, not a folder, or with too long a name
        return set(), set()
    return files, links
