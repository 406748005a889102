"""--phase=prepare: from folders of sketches and photos to annotation lists (docs/method.md, Files)."""

import argparse
import hashlib
import logging
import random
import shutil
from dataclasses import dataclass, fields
from itertools import count
from pathlib import Path
from typing import Any

from datasets import dataset_facts
from datasets.annotations import list_path
from datasets.demo.shapes import draw_demo
from datasets.folders import (
    check_sketch_count,
    find_categories,
    list_images,
    pair_categories,
    read_class_list,
    split_names,
)
from datasets.images import FORMATS_IN_WORDS
from datasets.readable import find_unreadable
from utils.errors import UserError
from utils.files import atomic_write, format_json, read_json, remove_stale_temporaries, write_json_files
from utils.locks import folder_lock

log = logging.getLogger(__name__)

# What the lists depend on, beside the folders
MADE_WITH = (
    "dataset",
    "data_path",
    "seed",
    "protocol",
    "test_per_category",
    "class_list",
    "skip_unreadable",
)

Tree = dict[str, list[str]]  # category -> file names


@dataclass(frozen=True)
class PrepareConfig:
    """What lists are made of, and where they go. The defaults of None are the data set's."""

    dataset: str
    data_path: Path
    anno_path: Path
    seed: int
    protocol: str
    test_per_category: int | None
    class_list: Path | None
    skip_unreadable: bool | None
    num_workers: int
    force: bool | None


def run(options: argparse.Namespace) -> None:
    """Check the data set and write its two lists; the demo set is drawn first if it is not there."""
    config = PrepareConfig(**{each.name: getattr(options, each.name) for each in fields(PrepareConfig)})
    root = config.data_path / config.dataset
    lists = {domain: list_path(config.anno_path, config.dataset, domain) for domain in ("sketch", "photo")}
    # before a demo is drawn, or a folder listed; and once: it may be a pipe
    listed = read_class_list(config.class_list) if config.class_list else set()
    if config.protocol == "zero-shot" and config.test_per_category:
        raise UserError(
            "--test_per_category has no meaning for zero-shot lists: all unseen sketches are tested"
        )
    refuse_existing(lists, config)
    with folder_lock(config.anno_path, f".{config.dataset}.lock"):
        refuse_existing(lists, config)  # another process may have been faster
        remove_stale_temporaries(config.anno_path, *(path.name for path in lists.values()))
        prepare(config, root, lists, listed)
    from run.config import config_from_options
    from run.next_command import announce  # these import PyTorch: not before a mistake is told

    announce("prepare", config_from_options(options))


def refuse_existing(lists: dict[str, Path], config: PrepareConfig) -> None:
    """Raise UserError if there are lists that were not to be overwritten.

    A sketch list is written last: without it, a photo list is what a killed process left.
    """
    if lists["sketch"].exists() and not config.force:
        existing = [str(path) for path in lists.values() if path.exists()]
        raise UserError(f"{' and '.join(existing)} exist already; --force keeps them under other names")


def prepare(config: PrepareConfig, root: Path, lists: dict[str, Path], listed: set[str]) -> None:
    """What `run` does, once it is certain that the lists are this process's own.

    `listed` are the categories that --class_list names.
    """
    if config.dataset == "demo" and not root.exists():
        log.info("drawing the demo set in %s", root)
        draw_demo(root)

    sketches, photos = list_images(root / "sketches"), list_images(root / "photos")
    pairs, lone_sketches, lone_photos = pair_categories(list(sketches), list(photos))
    report_counts(config.dataset, sketches, photos)
    unseen: list[str] = []
    if config.protocol == "zero-shot":
        unseen = draw_unseen(config, list(pairs), listed)
    elif config.class_list:
        chosen = find_categories(listed, list(sketches), config.class_list)
        sketches = {name: sketches[name] for name in chosen}
        pairs = {name: folder for name, folder in pairs.items() if name in chosen}
        photos = {name: files for name, files in photos.items() if name in pairs.values()}
        lone_sketches, lone_photos = [name for name in chosen if name not in pairs], []
        log.info("categories of %s alone: %d", config.class_list, len(chosen))
    if lone_sketches or lone_photos:
        raise UserError(
            f"categories without a partner in the other domain: sketches {lone_sketches or 'none'}, photos "
            f"{lone_photos or 'none'}; add, rename or remove their folders in {root}"
        )
    if not unseen:
        for category in sorted(sketches):  # before every image is opened
            check_sketch_count(sketches[category], count_test_sketches(config), category=category)
    names = [
        f"{domain}/{category}/{name}"
        for domain, tree in (("sketches", sketches), ("photos", photos))
        for category, files in tree.items()
        for name in files
    ]
    unreadable = set(find_unreadable(root, names, workers=config.num_workers))
    if unreadable and not config.skip_unreadable:
        raise UserError(
            f"{len(unreadable)} images cannot be read (listed above); repair or remove them, or leave them "
            f"out of the lists with --skip_unreadable; formats that are read: {FORMATS_IN_WORDS}"
        )
    sketches, photos = without(unreadable, "sketches", sketches), without(unreadable, "photos", photos)
    write_lists(config, lists, sketches, photos, pairs, unseen)


def count_test_sketches(config: PrepareConfig) -> int:
    """How many sketches of each category are tested with, where every category is trained on."""
    return config.test_per_category or dataset_facts(config.dataset).test_per_category


def report_counts(dataset: str, sketches: Tree, photos: Tree) -> None:
    """Log how many there are, beside the published counts where there are any."""
    facts = dataset_facts(dataset)
    for what, found, published in (
        ("sketch categories", len(sketches), facts.categories),
        ("photo categories", len(photos), facts.categories),
        ("sketches", sum(map(len, sketches.values())), facts.sketches),
        ("photos", sum(map(len, photos.values())), facts.photos),
    ):
        beside = "" if published is None else f" (published: {published}, difference {found - published:+d})"
        log.info("%s: %d%s", what, found, beside)


def without(unreadable: set[str], domain: str, tree: Tree) -> Tree:
    return {
        category: [name for name in names if f"{domain}/{category}/{name}" not in unreadable]
        for category, names in tree.items()
    }


def draw_unseen(config: PrepareConfig, categories: list[str], listed: set[str]) -> list[str]:
    """The categories of --class_list, or some drawn by --seed: the data set's usual number, or a fifth."""
    if config.class_list:
        unseen = find_categories(listed, categories, config.class_list)
    else:
        count = dataset_facts(config.dataset).unseen or max(1, len(categories) // 5)
        unseen = sorted(random.Random(config.seed).sample(sorted(categories), min(count, len(categories))))
    if len(unseen) == len(categories):
        raise UserError(f"all {len(categories)} categories would be unseen: none is left to train on")
    log.info("zero-shot: %d categories to train on, %d unseen", len(categories) - len(unseen), len(unseen))
    log.info("unseen: %s", ", ".join(unseen))
    return unseen


def write_lists(
    config: PrepareConfig,
    lists: dict[str, Path],
    sketches: Tree,
    photos: Tree,
    pairs: dict[str, str],
    unseen: list[str],
) -> None:
    """Split the sketches, number the categories in sorted order, and write both lists.

    With `unseen` categories, those are all of the test and the others all of the training.
    """
    content: dict[str, dict[str, list]] = {
        "sketch": {"train": [], "test": []},
        "photo": {"train": [], "test": []},
    }
    for label, category in enumerate(sorted(pairs)):
        names, folder = sketches[category], pairs[category]
        if not photos[folder]:
            raise UserError(f"no readable photo in category {folder}; add photos or remove the category")
        if unseen:
            train, test = ([], names) if category in unseen else (names, [])
        else:
            train, test = split_names(names, count_test_sketches(config), seed=config.seed, category=category)
        for part, chosen in (("train", train), ("test", test)):
            content["sketch"][part] += [[f"sketches/{category}/{name}", label] for name in chosen]
            if chosen:  # the gallery is all photos, training photos among them, but for zero-shot lists
                content["photo"][part] += [[f"photos/{folder}/{name}", label] for name in photos[folder]]
    if lists["photo"].exists() and not config.force and not says(lists["photo"], content["photo"]):
        raise UserError(f"{lists['photo']} exists already and is of other options; --force makes new lists")
    files = {path: content[domain] for domain, path in lists.items()}
    keep_old(files, record_path(config))
    write_json_files({**files, record_path(config): record_of(config, files)})
    for domain, path in lists.items():
        counts = " + ".join(f"{len(entries)} {part}" for part, entries in content[domain].items())
        log.info("wrote %s: %s", path, counts)


def record_path(config: PrepareConfig) -> Path:
    """The file that says what the lists beside it were made with; the lists have the published form alone."""
    return config.anno_path / f"{config.dataset}_options.json"


def record_of(config: PrepareConfig, files: dict[Path, Any]) -> dict[str, Any]:
    """What the lists `files` were made with, and their checksums, which tell whether they are still those."""
    from run.provenance import made_with  # imports PyTorch: not before a mistake is told

    values = {name: getattr(config, name) for name in MADE_WITH}
    values = {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}
    return {
        **made_with(values, config.seed),
        "sha256": {path.name: digest_of(format_json(each)) for path, each in files.items()},
    }


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def keep_old(files: dict[Path, Any], record: Path) -> None:
    """Copy lists that are to get other content, and the `record` beside them, to names that are free."""
    if all(not path.exists() or says(path, content) for path, content in files.items()):
        return
    old = [path for path in (*files, record) if path.exists()]
    number = next(n for n in count(1) if not any(renamed(path, n).exists() for path in old))
    for path in old:
        with atomic_write(renamed(path, number)) as temporary:
            shutil.copy2(path, temporary)
    log.info("kept the lists that were there as %s", ", ".join(str(renamed(path, number)) for path in old))


def renamed(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}.old{number}{path.suffix}")


def says(path: Path, content: Any) -> bool:
    """Whether the file at `path` has this content already."""
    try:
        return read_json(path) == content
    except ValueError:
        return False
