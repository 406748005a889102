"""Folder trees of sketches and photos: list files, pair categories, split (docs/method.md, Files)."""

import logging
import os
import random
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from datasets.images import FORMATS_IN_WORDS, has_image_signature
from utils.errors import UserError, one_line
from utils.files import decode_text
from utils.names import escape_undecodable, is_utf8, normalize_unicode

log = logging.getLogger(__name__)

# files without a suffix are recognised by their first bytes
IMAGE_SUFFIXES = {".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
UNREAD_SUFFIXES = {".avif", ".heic", ".heif"}  # common image formats that are not supported
NAMED = 5  # how many files a message lists

INSTEAD_OF_LINKS = "make that folder itself the link, or copy what is linked into it"

# TU-Berlin: sketch folders whose photo folder is spelled differently
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
    """Category -> names of its image files, both sorted by code point, so equal on every platform.

    Other files are counted and listed in the log, hidden ones ignored. Raises UserError if the folder is
    missing or has no category, if a category has no image, for names that cannot be written to a list, and
    for links that lead out of the data set's folder, the parent of `domain_folder`.
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
        tree[folder.name], other_names = list_names(folder)
        others += [f"{folder.name}/{name}" for name in other_names]
    report_others(domain_folder, others)
    for category, names in tree.items():
        folder = domain_folder / category
        check_spellings(folder, names)
        for name in names:
            check_name(folder / name)
        for name in list_links(folder).intersection(names):
            check_link(folder / name, home)
    empty = [category for category, names in tree.items() if not names]
    if empty:
        raise UserError(
            f"no image in {len(empty)} categories of {domain_folder}: {', '.join(empty[:5])}; add images "
            "or remove the folder"
        )
    return tree


def check_name(path: Path) -> None:
    """Raise UserError if the name of `path` cannot be written to a list: not UTF-8, or with a backslash."""
    if "\\" in path.name or not is_utf8(path.name):
        raise UserError(
            f"{escape_undecodable(str(path))} has a name with a backslash or not in UTF-8, which "
            "lists cannot hold: rename it"
        )


def check_spellings(folder: Path, names: Iterable[str]) -> None:
    """Raise UserError if two `names` in `folder` differ only in Unicode normalisation (composed or not).

    A listed name would be ambiguous then.
    """
    seen: dict[str, str] = {}
    for name in names:
        if name.isascii():
            continue
        other = seen.setdefault(normalize_unicode(name), name)
        if other != name:
            raise UserError(
                f"{folder} has {name} twice, in both spellings of Unicode ({other!a} and "
                f"{name!a}): rename one, or put them together"
            )


def check_link(path: Path, home: Path) -> None:
    """Raise UserError if `path` is a link that leads out of `home`."""
    if path.is_symlink() and is_outside(path, home):
        raise UserError(f"{path} is a link out of the data set's folder; {INSTEAD_OF_LINKS}")


def is_outside(path: Path, home: Path) -> bool:
    """Whether `path`, with links resolved, is not below `home` (which is resolved already)."""
    return not Path(os.path.realpath(path)).is_relative_to(home)


def list_links(folder: Path) -> set[str]:
    """The names of all links in a folder, from one scan of the folder without a stat per file."""
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries if entry.is_symlink()}


def list_names(folder: Path) -> tuple[list[str], list[str]]:
    """The names of the image files and of the other files in a folder, both sorted; hidden ones ignored."""
    images: list[str] = []
    others: list[str] = []
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.suffix.lower() in IMAGE_SUFFIXES or (not path.suffix and has_image_signature(path)):
            images.append(path.name)
        elif path.is_file():
            others.append(path.name)
    return sorted(images), sorted(others)


def report_others(root: Path, names: list[str]) -> None:
    """Log the files below `root` that are ignored because of their names."""
    if names:
        log.warning("warning: ignored in %s: %s", root, describe_others(names))


def describe_others(names: list[str]) -> str:
    shown = ", ".join(f"'{name}'" if name != name.strip() else name for name in names[:NAMED])
    more = ", ..." if len(names) > NAMED else ""
    text = f"{len(names)} files without an image suffix ({one_line(shown)}{more})"
    if any(Path(name).suffix.lower() in UNREAD_SUFFIXES for name in names):
        text += f"; HEIC and AVIF are not supported: save them as {FORMATS_IN_WORDS}"
    if any(name != name.strip() for name in names):
        text += "; a space at the end of a name counts: rename the file"
    return text


def list_images_below(root: Path) -> tuple[list[str], list[str], list[str]]:
    """Image files anywhere below `root`, as paths relative to it, sorted by code point.

    The second list: skipped paths, that is links out of `root`, links to folders, and names that are not
    UTF-8. The third: files without an image suffix. Raises UserError if the folder is missing or has no
    image.
    """
    if not root.is_dir():
        raise UserError(f"no folder {root}; check its path")
    home = root.resolve()
    inside: list[str] = []
    skipped: list[str] = []
    others: list[str] = []
    for folder, folders, _ in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        linked = [Path(folder, name) for name in folders if Path(folder, name).is_symlink()]
        images, other_names = list_names(Path(folder))
        others += [
            escape_undecodable(Path(folder, name).relative_to(root).as_posix()) for name in other_names
        ]
        for path in linked + [path for name in images if (path := Path(folder, name)).is_file()]:
            name = path.relative_to(root).as_posix()
            shown = escape_undecodable(name)
            leads_out = path.is_symlink() and is_outside(path, home)
            if leads_out or path in linked or shown != name:
                skipped.append(shown)
            else:
                inside.append(shown)
    if not inside:
        hint = f"; skipped: {', '.join(skipped[:NAMED])}" if skipped else ""
        if others:
            hint += f"; ignored: {describe_others(sorted(others))}"
        raise UserError(f"no image in {root}: looked for {', '.join(sorted(IMAGE_SUFFIXES))}{hint}")
    return sorted(inside), sorted(skipped), sorted(others)


def read_class_list(path: Path) -> set[str]:
    """The categories in a text file, one per line; empty lines and comments (#) are ignored.

    Raises UserError if the file cannot be read, or is empty.
    """
    try:
        lines = [line.strip() for line in decode_text(path.read_bytes()).splitlines()]
    except OSError as error:
        raise UserError(f"cannot read --class_list {path}: {error.strerror}; check its path") from error
    except ValueError as error:
        raise UserError(f"cannot read --class_list {path}: {error}") from error
    names = {normalize_unicode(line) for line in lines if line and not line.startswith("#")}
    if not names:
        raise UserError(f"{path} names no category; write one per line")
    return names


def find_categories(names: set[str], known: list[str], path: Path) -> list[str]:
    """The categories `names`, read from `path`, sorted and spelled as in `known`.

    Raises UserError if one is not in `known`.
    """
    spelling = {normalize_unicode(name): name for name in known}
    unknown = sorted(names - set(spelling))
    if unknown:
        raise UserError(
            f"{path} names {len(unknown)} categories without sketches, first {unknown[0]!r}"
            + suggest_name(unknown[0], known)
        )
    return sorted(spelling[name] for name in names)


def suggest_name(name: str, known: list[str]) -> str:
    """End of an error message: the closest of the `known` names; empty if none is similar."""
    matches = get_close_matches(name, known, n=1)
    return f"; the closest one is {matches[0]!r}" if matches else ""


def simplify_name(category: str) -> str:
    """The name in lower case and composed Unicode, without spaces, hyphens, underscores and brackets."""
    return "".join(character for character in normalize_unicode(category).lower() if character not in " -_()")


def pair_categories(sketch: list[str], photo: list[str]) -> tuple[dict[str, str], list[str], list[str]]:
    """Find the photo folder of every sketch folder.

    Returns the pairs (sketch folder -> photo folder), the unpaired sketch folders and the unpaired photo
    folders. Names are matched if equal, else by TU-Berlin's table, else by `simplify_name`.
    """
    by_spelling = {simplify_name(name): name for name in photo}
    known, taken = {normalize_unicode(name): name for name in photo}, set()
    pairs: dict[str, str] = {}
    for name in sorted(sketch, key=lambda name: normalize_unicode(name) not in known):  # equal names first
        candidates = (normalize_unicode(name), TUBERLIN_PHOTO_FOLDERS.get(name))
        partner = next((known[candidate] for candidate in candidates if candidate in known), None)
        partner = partner or by_spelling.get(simplify_name(name))
        if partner is not None and partner not in taken:  # a photo folder has one label
            pairs[name] = partner
            taken.add(partner)
    unpaired_sketches = [name for name in sketch if name not in pairs]
    unpaired_photos = sorted(set(photo) - taken)
    return pairs, unpaired_sketches, unpaired_photos


def check_sketch_count(names: list[str], test_count: int, *, category: str) -> None:
    """Raise UserError unless `test_count` of the sketches `names` can go to the test and some remain."""
    if not 0 < test_count < len(names):
        raise UserError(
            f"category {category} has {len(names)} sketches, too few for {test_count} test sketches and one "
            "to train on; change --test_per_category or add sketches"
        )


def split_names(
    names: list[str], test_count: int, *, seed: int, category: str
) -> tuple[list[str], list[str]]:
    """Draw `test_count` of `names` for the test, depending only on `seed` and `category`; both parts sorted.

    Raises UserError if no name would be left for training.
    """
    check_sketch_count(names, test_count, category=category)
    # random.Random hashes a string seed with SHA-512: the same draw on every platform
    draw = random.Random(f"{seed}/{normalize_unicode(category)}")
    test = set(draw.sample(sorted(names, key=normalize_unicode), test_count))
    return [name for name in names if name not in test], [name for name in names if name in test]
