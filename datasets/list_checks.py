"""What annotation lists must not have: no training or test is to stumble over it, nor to be wrong by it."""

import os
import re
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from datasets.folders import INSTEAD_OF_LINKS, leads_out, pair_categories
from utils.errors import UserError
from utils.names import compose_unicode

Entry = tuple[str, int]  # path relative to the data set's folder, label
Lists = dict[str, list[Entry]]  # "train" and "test"

WRITE_BELOW = "write every path from the data set's folder on: sketches/cat/1.png, say"


def check_repeats(list_file: Path, entries: list[Entry]) -> None:
    """Raise UserError if a file is named twice: a sketch trained on must not be tested with."""
    repeated = [
        name for name, count in Counter(compose_unicode(name) for name, _ in entries).items() if count > 1
    ]
    if repeated:
        raise UserError(f"{list_file} names {len(repeated)} files more than once, first {repeated[0]}")


def check_labels(
    sketches: Lists, photos: Lists, sketch_list: Path, photo_list: Path, *, training: bool = True
) -> tuple[list[int], int]:
    """The label ids, those trained on first, each part sorted, and how many are trained on.

    Training sketches and photos must share their labels. The gallery must have those too, or, in zero-shot
    lists, none of them but all of the test sketches. What is there for training is checked for a `training`
    alone. Where nothing is named for training, all labels count
    as trained on.
    """
    parts = {
        "training sketch": (sketch_list, labels_of(sketches["train"])),
        "training photo": (photo_list, labels_of(photos["train"])),
        "test sketch": (sketch_list, labels_of(sketches["test"])),
        "gallery photo": (photo_list, labels_of(photos["test"])),
    }
    trained = parts["training sketch"][1] | parts["training photo"][1]
    tested = parts["test sketch"][1] | parts["gallery photo"][1]
    required = [("training sketch", trained), ("training photo", trained)] if training else []
    if trained & tested:
        strange = parts["test sketch"][1] - trained
        if strange:
            raise UserError(
                f"{sketch_list} has test sketches of label {min(strange)}, which is not trained on"
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
    """Raise UserError if a category that both lists have is numbered one way here and another there."""
    of_sketches, of_photos = labels_by_category(sketches), labels_by_category(photos)
    pairs, _, _ = pair_categories(sorted(of_sketches), sorted(of_photos))
    for name, folder in pairs.items():
        here, there = of_sketches[name], of_photos[folder]
        if not here & there:
            raise UserError(
                f"{photo_list} gives the photos of {folder} the label {min(there)}, {sketch_list} the "
                f"sketches of {name} the label {min(here)}: the lists are not of one making"
            )


def labels_by_category(lists: Lists) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for part in lists.values():
        for path, label in part:
            found.setdefault(category_of(path), set()).add(label)
    return found


def category_of(path: str) -> str:
    """The category of a listed file, in one spelling of Unicode, whatever that of its folder."""
    return compose_unicode(path.rsplit("/", 2)[-2])


def labels_of(entries: list[Entry]) -> set[int]:
    return {label for _, label in entries}


def locate_files(root: Path, list_file: Path, lists: Lists, left_out: Collection[str]) -> Lists:
    """The lists with every file named as on the disk, where its Unicode may be spelled in the other way.

    Raises UserError if a listed file is not there, or lies outside `root` by a link. Reads folders rather
    than asking file by file. What is `left_out` may be gone, but not lead out.
    """
    home = Path(os.path.realpath(root))
    wanted = {name for entries in lists.values() for name, _ in entries}
    of_folder: dict[str, set[str]] = {}
    for name in wanted:
        of_folder.setdefault(name.rpartition("/")[0], set()).add(name)
    present: set[str] = set()
    spelled: dict[str, str] = {}  # listed name -> the one on the disk, if that is another
    for folder, names in of_folder.items():
        there = find_folder(root, folder)
        out = names if leads_out(root / there, home) else set()
        if not out:
            files, links = files_in(root, there)
            own = find_spellings(names, files, there)
            spelled |= own
            out = {name for name in names if own.get(name, name) in links and leads_out(root / name, home)}
            present |= files
        if out:
            raise UserError(
                f"{list_file} names {min(out)}, which a link leads out of {root}; {INSTEAD_OF_LINKS}"
            )
    known = {compose_unicode(name) for name in left_out}
    missing = sorted(name for name in wanted - present - set(spelled) if compose_unicode(name) not in known)
    if missing:
        instead = "make the lists anew with --phase=prepare --force, or complete the data"
        if re.match("[A-Za-z]:/", missing[0]):
            instead = "it is an absolute path of Windows; " + WRITE_BELOW
        elif missing[0].startswith(f"{root.name}/"):
            instead = WRITE_BELOW
        raise UserError(
            f"{list_file} names {len(missing)} files that are not in {root}, first {missing[0]}; {instead}"
        )
    if not spelled:
        return lists
    return {
        part: [(spelled.get(name, name), label) for name, label in entries] for part, entries in lists.items()
    }


def find_folder(root: Path, folder: str) -> str:
    """The path of a folder below `root` as it is spelled there; as given if there is none."""
    if folder.isascii() or (root / folder).is_dir():
        return folder
    found = ""
    for part in folder.split("/"):
        there = part
        if not part.isascii() and not (root / found / part).exists():
            with suppress(OSError):
                names = [path.name for path in (root / found).iterdir()]
                there = next((name for name in names if compose_unicode(name) == compose_unicode(part)), part)
        found = f"{found}/{there}" if found else there
    return found


def find_spellings(names: set[str], files: set[str], folder: str) -> dict[str, str]:
    """Of `names`, those that `files`, all in `folder`, have in the other spelling of Unicode, with that."""
    absent = [name for name in names - files if not f"{folder}{name}".isascii()]
    if not absent:
        return {}
    on_disk = {compose_unicode(name): name for name in files}
    return {name: on_disk[compose_unicode(name)] for name in absent if compose_unicode(name) in on_disk}


def is_file(entry: os.DirEntry) -> bool:
    """Whether it is a regular file, or a link to one; a link that leads round in a circle is none."""
    try:
        return entry.is_file()
    except OSError:
        return False


def files_in(root: Path, folder: str) -> tuple[set[str], set[str]]:
    """The regular files in a folder, as paths relative to `root`, and all that is a link there."""
    files: set[str] = set()
    links: set[str] = set()
    try:
        with os.scandir(root / folder) as entries:
            for entry in entries:
                name = f"{folder}/{entry.name}"
                if entry.is_symlink():
                    links.add(name)
                if is_file(entry):
                    files.add(name)
    except OSError:  # not there, no folder, or of a name too long to be there
        return set(), set()
    return files, links
