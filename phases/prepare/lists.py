"""Make annotation lists from folder trees, and write them without losing older ones."""

import hashlib
import logging
import shutil
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from typing import Any

from datasets.folders import split_names
from utils.errors import UserError
from utils.files import atomic_write, format_json, read_json, write_json_files

log = logging.getLogger(__name__)

Tree = dict[str, list[str]]  # category -> file names
Entries = list[list]  # [path below the data set's folder, label]


def make_lists(
    sketches: Tree,
    photos: Tree,
    pairs: dict[str, str],
    unseen: list[str],
    *,
    num_test_sketches: int,
    seed: int,
) -> dict[str, dict[str, Entries]]:
    """Domain -> part ("train" or "test") -> entries, with the categories numbered in sorted order.

    `pairs` maps sketch categories to photo categories. The gallery is all photos, those of the training among
    them. If there are `unseen` categories, all of their images are for testing, and all others for training.
    Raises UserError if a category has no photo or too few sketches.
    """
    lists: dict[str, dict[str, Entries]] = {
        "sketch": {"train": [], "test": []},
        "photo": {"train": [], "test": []},
    }
    for label, category in enumerate(sorted(pairs)):
        names, folder = sketches[category], pairs[category]
        if not photos[folder]:
            raise UserError(f"no readable photo in category {folder}; add photos or remove the category")
        if not unseen:
            train, test = split_names(names, num_test_sketches, seed=seed, category=category)
        elif category in unseen:
            train, test = [], names
        else:
            train, test = names, []
        for part, part_names in (("train", train), ("test", test)):
            lists["sketch"][part] += [[f"sketches/{category}/{name}", label] for name in part_names]
            if part_names:
                lists["photo"][part] += [[f"photos/{folder}/{name}", label] for name in photos[folder]]
    return lists


def write_lists(
    paths: dict[str, Path],
    lists: dict[str, dict[str, Entries]],
    *,
    record_path: Path,
    provenance: dict[str, Any],
    force: bool,
) -> None:
    """Write the list of each domain, and to `record_path` their `provenance` with their checksums.

    The lists have only the published form, so what they were made with goes into a file of its own; with the
    checksums one can tell whether it belongs to the lists beside it. Older lists with other content are
    backed up. Raises UserError if there is a photo list with other content and not `force`.
    """
    if paths["photo"].exists() and not force and not has_content(paths["photo"], lists["photo"]):
        raise UserError(
            f"{paths['photo']} already exists and was made with other options; --force writes new lists"
        )
    contents = {path: lists[domain] for domain, path in paths.items()}
    if any(path.exists() and not has_content(path, content) for path, content in contents.items()):
        back_up([*contents, record_path])
    checksums = {
        path.name: hashlib.sha256(format_json(content).encode()).hexdigest()
        for path, content in contents.items()
    }
    write_json_files({**contents, record_path: {**provenance, "sha256": checksums}})
    for domain, path in paths.items():
        counts = " + ".join(f"{len(entries)} {part}" for part, entries in lists[domain].items())
        log.info("wrote %s: %s", path, counts)


def has_content(path: Path, content: Any) -> bool:
    """Whether the JSON file at `path` has this content."""
    try:
        return read_json(path) == content
    except ValueError:
        return False


def back_up(paths: Iterable[Path]) -> None:
    """Copy the files among `paths` that exist to names like sketchy_photo.old1.json, all with one number."""
    existing = [path for path in paths if path.exists()]
    for number in count(1):
        copies = [path.with_name(f"{path.stem}.old{number}{path.suffix}") for path in existing]
        if not any(copy.exists() for copy in copies):
            break
    for path, copy in zip(existing, copies, strict=True):
        with atomic_write(copy) as temporary:
            shutil.copy2(path, temporary)
    log.info("backed up the older lists as %s", ", ".join(map(str, copies)))
