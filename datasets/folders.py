"""Folder trees of sketches and photos: which files, which categories, which split (docs/method.md, Files)."""

import logging
import os
import random
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from datasets.images import FORMATS_IN_WORDS, starts_as_image
from utils.errors import UserError, one_line
from utils.files import decode_text
from utils.names import compose_unicode, is_utf8, printable

log = logging.getLogger(__name__)

# a file without any suffix is an image if it starts as one
IMAGE_SUFFIXES = {".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
UNREAD_SUFFIXES = {".avif", ".heic", ".heif"}  # images that people have, in formats that are not read
NAMED = 5  # files that a message names

INSTEAD_OF_LINKS = "make that folder itself the link, or copy what is linked into it"

# TU-Berlin: sketch folders whose photo folder is spelled in a way that no rule gives
TUBERLIN_PHOTO_FOLDERS = {
    "trombone": "tromobone",
    "giraffe": "griaffe",
    "spider": "spidar",
    "chandelier": "chandeler",
    "space shuttle": "spacesshuttle",
    "wrist-watch": "wristwatching",
    "diamond": "diamod",
    "pipe (for smoking)": "pipe",
    "mouse (animal)": "mouse",
}


def list_images(domain_folder: Path) -> dict[str, list[str]]:
    """Category -> names of its image files, both sorted by code point: the same list on every platform.

    Files that are no images by their names are counted and named in the log, but for hidden ones. Raises
    UserError if the folder is missing or holds no category, if a category holds no image, and for names that
    no list can hold and links that lead out of the data set's folder, in which `domain_folder` is.
    """
    if not domain_folder.is_dir():
        raise UserError(
            f"no folder {domain_folder}; check --data_path and --dataset: images are expected in "
            "<data_path>/<dataset>/{photos,sketches}/<category>/<file>"
        )
    home = Path(os.path.realpath(domain_folder.parent))
    check_link(domain_folder, home)
    folders = [path for path in domain_folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    if not folders:
        raise UserError(f"{domain_folder} has no category folder in it")
    for folder in folders:
        check_name(folder)
        check_link(folder, home)
    check_spellings(domain_folder, [path.name for path in folders])
    tree: dict[str, list[str]] = {}
    others: list[str] = []
    for folder in sorted(folders, key=lambda path: path.name):
        tree[folder.name], of_other_names = image_names(folder)
        others += [f"{folder.name}/{name}" for name in of_other_names]
    report_others(domain_folder, others)
    for category, names in tree.items():
        folder = domain_folder / category
        check_spellings(folder, names)
        for name in names:
            check_name(folder / name)
        for name in links_in(folder).intersection(names):
            check_link(folder / name, home)
    empty = [category for category, names in tree.items() if not names]
    if empty:
        raise UserError(
            f"no image in {len(empty)} categories of {domain_folder}: {', '.join(empty[:5])}; add images "
            "or remove the folder"
        )
    return tree


def check_name(path: Path) -> None:
    """Raise UserError if the name of `path` could not stand in a list: JSON is UTF-8, / alone separates."""
    if "\\" in path.name or not is_utf8(path.name):
        raise UserError(
            f"{printable(str(path))} has a name that no list can hold, a backslash or no UTF-8: rename it"
        )


def check_spellings(folder: Path, names: Iterable[str]) -> None:
    """Raise UserError if two of the `names` in `folder` are one in Unicode, spelled in its two ways.

    Where such names lie side by side, what is meant by one in a list cannot be known.
    """
    seen: dict[str, str] = {}
    for name in names:
        if name.isascii():
            continue
        other = seen.setdefault(compose_unicode(name), name)
        if other != name:
            raise UserError(
                f"{folder} has {name} twice, in both spellings of Unicode ({other!a} and "
                f"{name!a}): rename one, or put them together"
            )


def check_link(path: Path, home: Path) -> None:
    """Raise UserError if `path` is a link that leads out of `home`."""
    if path.is_symlink() and leads_out(path, home):
        raise UserError(f"{path} is a link out of the data set's folder; {INSTEAD_OF_LINKS}")


def leads_out(path: Path, home: Path) -> bool:
    """Whether `path` is, by the links in it, not below `home`, which has none."""
    return not Path(os.path.realpath(path)).is_relative_to(home)


def links_in(folder: Path) -> set[str]:
    """The names of all links in a folder, which the folder itself says: no file is asked."""
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries if entry.is_symlink()}


def image_names(folder: Path) -> tuple[list[str], list[str]]:
    """The names of the image files in a folder, and of all other files but hidden ones, both sorted."""
    images: list[str] = []
    others: list[str] = []
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.suffix.lower() in IMAGE_SUFFIXES or (not path.suffix and starts_as_image(path)):
            images.append(path.name)
        elif path.is_file():
            others.append(path.name)
    return sorted(images), sorted(others)


def report_others(root: Path, names: list[str]) -> None:
    """Log how many files below `root` are passed over because of their names, and which."""
    if names:
        log.warning("warning: passed over in %s: %s", root, describe_others(names))


def describe_others(names: list[str]) -> str:
    shown = ", ".join(f"'{name}'" if name != name.strip() else name for name in names[:NAMED])
    more = ", ..." if len(names) > NAMED else ""
    text = f"{len(names)} files that are not named as images ({one_line(shown)}{more})"
    if any(Path(name).suffix.lower() in UNREAD_SUFFIXES for name in names):
        text += f"; HEIC and AVIF are not read: save them as {FORMATS_IN_WORDS}"
    if any(name != name.strip() for name in names):
        text += "; a space at the end of a name counts: rename the file"
    return text


def images_below(root: Path) -> tuple[list[str], list[str], list[str]]:
    """Image files anywhere below `root`, as paths relative to it, sorted by code point.

    The second list: links out of `root` and links to folders, so that what is shown of `root` is in it, and
    names that are not UTF-8, which JSON cannot hold. The third: files that are no images by their names.
    Raises UserError if the folder is missing or holds no image.
    """
    if not root.is_dir():
        raise UserError(f"no folder {root}; check its path")
    home = root.resolve()
    inside: list[str] = []
    passed_over: list[str] = []
    others: list[str] = []
    for folder, folders, _ in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        linked = [Path(folder, name) for name in folders if Path(folder, name).is_symlink()]
        images, of_other_names = image_names(Path(folder))
        others += [printable(Path(folder, name).relative_to(root).as_posix()) for name in of_other_names]
        for path in linked + [path for name in images if (path := Path(folder, name)).is_file()]:
            name = path.relative_to(root).as_posix()
            shown = printable(name)
            out = path.is_symlink() and leads_out(path, home)
            (passed_over if out or path in linked or shown != name else inside).append(shown)
    if not inside:
        but = f"; passed over: {', '.join(passed_over[:NAMED])}" if passed_over else ""
        if others:
            but += f"; passed over: {describe_others(sorted(others))}"
        raise UserError(f"no image in {root}: looked for {', '.join(sorted(IMAGE_SUFFIXES))}{but}")
    return sorted(inside), sorted(passed_over), sorted(others)


def read_class_list(path: Path) -> set[str]:
    """The categories named in a text file, one a line; empty lines and comments (#) are passed over.

    Raises UserError if the file cannot be read, or names none.
    """
    try:
        lines = [line.strip() for line in decode_text(path.read_bytes()).splitlines()]
    except OSError as error:
        raise UserError(f"cannot read --class_list {path}: {error.strerror}; check its path") from error
    except ValueError as error:
        raise UserError(f"cannot read --class_list {path}: {error}") from error
    names = {compose_unicode(line) for line in lines if line and not line.startswith("#")}
    if not names:
        raise UserError(f"{path} names no category; one is expected on every line")
    return names


def find_categories(names: set[str], known: list[str], path: Path) -> list[str]:
    """The categories `names`, of the file at `path`, sorted and spelled as in `known`.

    Raises UserError if one is not among them.
    """
    spelled = {compose_unicode(name): name for name in known}
    strange = sorted(names - set(spelled))
    if strange:
        raise UserError(
            f"{path} names {len(strange)} categories without sketches, first {strange[0]!r}"
            + suggest_name(strange[0], known)
        )
    return sorted(spelled[name] for name in names)


def suggest_name(name: str, known: list[str]) -> str:
    """What may be meant by `name`, as the end of a message; nothing if none of `known` is like it."""
    found = get_close_matches(name, known, n=1)
    return f"; the closest of those there are is {found[0]!r}" if found else ""


def plain_spelling(category: str) -> str:
    """The name without spaces, hyphens, underscores and brackets, in lower case, one Unicode spelling."""
    return "".join(character for character in compose_unicode(category).lower() if character not in " -_()")


def pair_categories(sketch: list[str], photo: list[str]) -> tuple[dict[str, str], list[str], list[str]]:
    """Find the photo folder of every sketch folder.

    Returns the pairs (sketch folder -> photo folder), the sketch folders without a partner and the photo
    folders without one. Names pair when they are equal, else by TU-Berlin's table, else by plain spelling.
    """
    by_spelling = {plain_spelling(name): name for name in photo}
    known, taken = {compose_unicode(name): name for name in photo}, set()
    pairs: dict[str, str] = {}
    for name in sorted(sketch, key=lambda name: compose_unicode(name) not in known):  # equal names first
        candidates = (compose_unicode(name), TUBERLIN_PHOTO_FOLDERS.get(name))
        found = next((known[each] for each in candidates if each in known), None)
        found = found or by_spelling.get(plain_spelling(name))
        if found is not None and found not in taken:  # a folder of photos has one label
            pairs[name] = found
            taken.add(found)
    lone_sketches = [name for name in sketch if name not in pairs]
    lone_photos = sorted(set(photo) - taken)
    return pairs, lone_sketches, lone_photos


def check_enough(names: list[str], test_count: int, *, category: str) -> None:
    """Raise UserError unless `test_count` of the sketches `names` can be tested with, and some trained on."""
    if not 0 < test_count < len(names):
        raise UserError(
            f"category {category} has {len(names)} sketches, too few for {test_count} test sketches and one "
            "to train on; change --test_per_category or add sketches"
        )


def split(names: list[str], test_count: int, *, seed: int, category: str) -> tuple[list[str], list[str]]:
    """Draw `test_count` of `names` for the test, by `seed` and `category` alone; both parts stay sorted.

    Raises UserError if no name would be left for training.
    """
    check_enough(names, test_count, category=category)
    # a string seed is hashed with SHA-512 by the standard library: the same draw on every platform
    draw = random.Random(f"{seed}/{compose_unicode(category)}")
    test = set(draw.sample(sorted(names, key=compose_unicode), test_count))
    return [name for name in names if name not in test], [name for name in names if name in test]
