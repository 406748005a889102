"""--phase=prepare: from folders of sketches and photos to annotation lists (docs/method.md, Files)."""

import argparse
import logging
import random
from dataclasses import dataclass, fields
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
)
from datasets.images import FORMATS_IN_WORDS
from datasets.readable import find_unreadable
from phases.prepare.lists import Tree, make_lists, write_lists
from utils.errors import UserError
from utils.files import remove_stale_temporaries
from utils.locks import folder_lock

log = logging.getLogger(__name__)

# What the lists depend on besides the images
RECORDED_OPTIONS = (
    "dataset",
    "data_path",
    "seed",
    "protocol",
    "test_per_category",
    "class_list",
    "skip_unreadable",
)


@dataclass(frozen=True)
class PrepareConfig:
    """What the lists are made from, and where they go. None stands for the data set's default."""

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

    @property
    def root(self) -> Path:
        """The folder of the data set."""
        return self.data_path / self.dataset

    @property
    def num_test_sketches(self) -> int:
        """How many sketches of each category are for testing, where every category is trained on."""
        return self.test_per_category or dataset_facts(self.dataset).test_per_category


def run(options: argparse.Namespace) -> None:
    """Check the data set and write its two lists; the demo set is drawn first if it is not there."""
    config = PrepareConfig(**{field.name: getattr(options, field.name) for field in fields(PrepareConfig)})
    # read now, to fail before anything is done, and only once, as it may be a pipe
    class_list = read_class_list(config.class_list) if config.class_list else set()
    if config.protocol == "zero-shot" and config.test_per_category:
        raise UserError(
            "--test_per_category has no meaning for zero-shot lists: all unseen sketches are tested"
        )
    paths = {domain: list_path(config.anno_path, config.dataset, domain) for domain in ("sketch", "photo")}
    refuse_existing(paths, config)
    with folder_lock(config.anno_path, f".{config.dataset}.lock"):
        refuse_existing(paths, config)  # another process may have written them since
        remove_stale_temporaries(config.anno_path, *(path.name for path in paths.values()))
        prepare(config, paths, class_list)
    # these import PyTorch, which takes seconds: not before a mistake in the options is reported
    from run.config import config_from_options
    from run.next_command import log_next_command

    log_next_command("prepare", config_from_options(options))


def refuse_existing(paths: dict[str, Path], config: PrepareConfig) -> None:
    """Raise UserError if the lists exist already and --force was not given.

    The sketch list is written last: a photo list without one is left from a process that was killed.
    """
    if paths["sketch"].exists() and not config.force:
        existing = [str(path) for path in paths.values() if path.exists()]
        raise UserError(f"{' and '.join(existing)} already exist; --force backs them up and writes new lists")


def prepare(config: PrepareConfig, paths: dict[str, Path], class_list: set[str]) -> None:
    """Find, check and split the images, and write the lists to `paths`.

    `class_list` has the names in --class_list.
    """
    if config.dataset == "demo" and not config.root.exists():
        log.info("drawing the demo set in %s", config.root)
        draw_demo(config.root)
    sketches, photos = list_images(config.root / "sketches"), list_images(config.root / "photos")
    report_counts(config.dataset, sketches, photos)
    if config.class_list and config.protocol == "seen":
        chosen = find_categories(class_list, list(sketches), config.class_list)
        sketches, photos = select_categories(chosen, sketches, photos)
        log.info("only the categories of %s: %d", config.class_list, len(chosen))
    pairs = check_pairs(config.root, sketches, photos)
    unseen: list[str] = []
    if config.protocol == "zero-shot":
        unseen = choose_unseen(config, list(pairs), class_list)
    else:
        for category in sorted(sketches):  # before all images are opened, which takes long
            check_sketch_count(sketches[category], config.num_test_sketches, category=category)
    sketches, photos = check_readable(config, sketches, photos)
    lists = make_lists(
        sketches, photos, pairs, unseen, num_test_sketches=config.num_test_sketches, seed=config.seed
    )
    write_lists(
        paths,
        lists,
        record_path=config.anno_path / f"{config.dataset}_options.json",
        provenance=record_options(config),
        force=bool(config.force),
    )


def report_counts(dataset: str, sketches: Tree, photos: Tree) -> None:
    """Log the numbers of categories and images, beside the published ones where there are any."""
    facts = dataset_facts(dataset)
    for name, count, published in (
        ("sketch categories", len(sketches), facts.categories),
        ("photo categories", len(photos), facts.categories),
        ("sketches", sum(map(len, sketches.values())), facts.sketches),
        ("photos", sum(map(len, photos.values())), facts.photos),
    ):
        if published is None:
            log.info("%s: %d", name, count)
        else:
            log.info("%s: %d (published: %d, difference %+d)", name, count, published, count - published)


def select_categories(chosen: list[str], sketches: Tree, photos: Tree) -> tuple[Tree, Tree]:
    """The trees with only the `chosen` sketch categories and the photo categories that they pair with."""
    pairs, _, _ = pair_categories(list(sketches), list(photos))
    folders = {pairs[category] for category in chosen if category in pairs}
    return (
        {category: sketches[category] for category in chosen},
        {folder: names for folder, names in photos.items() if folder in folders},
    )


def check_pairs(root: Path, sketches: Tree, photos: Tree) -> dict[str, str]:
    """The photo category of each sketch category. Raises UserError if one has no partner."""
    pairs, lone_sketches, lone_photos = pair_categories(list(sketches), list(photos))
    if lone_sketches or lone_photos:
        raise UserError(
            f"categories without a partner in the other domain: sketches {lone_sketches or 'none'}, photos "
            f"{lone_photos or 'none'}; add, rename or remove their folders in {root}"
        )
    return pairs


def choose_unseen(config: PrepareConfig, categories: list[str], class_list: set[str]) -> list[str]:
    """The unseen categories: those of --class_list, or else a random sample by --seed.

    The sample has the data set's usual number, or a fifth of all.
    """
    if config.class_list:
        unseen = find_categories(class_list, categories, config.class_list)
    else:
        count = dataset_facts(config.dataset).unseen or max(1, len(categories) // 5)
        unseen = sorted(random.Random(config.seed).sample(sorted(categories), min(count, len(categories))))
    if len(unseen) == len(categories):
        raise UserError(f"all {len(categories)} categories would be unseen: none is left to train on")
    log.info("zero-shot: %d categories to train on, %d unseen", len(categories) - len(unseen), len(unseen))
    log.info("unseen: %s", ", ".join(unseen))
    return unseen


def check_readable(config: PrepareConfig, sketches: Tree, photos: Tree) -> tuple[Tree, Tree]:
    """Open every image; the trees without the unreadable ones. Raises UserError without --skip_unreadable."""
    trees = {"sketches": sketches, "photos": photos}
    paths = [
        f"{domain}/{category}/{name}"
        for domain, tree in trees.items()
        for category, names in tree.items()
        for name in names
    ]
    unreadable = set(find_unreadable(config.root, paths, workers=config.num_workers))
    if unreadable and not config.skip_unreadable:
        raise UserError(
            f"{len(unreadable)} images cannot be read (listed above); repair or remove them, or leave them "
            f"out of the lists with --skip_unreadable; formats that are read: {FORMATS_IN_WORDS}"
        )
    for domain, tree in trees.items():
        trees[domain] = {
            category: [name for name in names if f"{domain}/{category}/{name}" not in unreadable]
            for category, names in tree.items()
        }
    return trees["sketches"], trees["photos"]


def record_options(config: PrepareConfig) -> dict[str, Any]:
    """The options that the lists were made with, with seed, versions, revision and machine."""
    # they import PyTorch: not before a mistake in the options is reported
    from run.config import to_plain
    from run.provenance import build_provenance

    options = {name: to_plain(getattr(config, name)) for name in RECORDED_OPTIONS}
    return build_provenance(options, config.seed)
