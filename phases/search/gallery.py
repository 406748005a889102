"""The gallery: the photos that are searched, of the data set or of a folder, with their features.

Features are computed once and cached below logs/<save_path>/index (see gallery_cache.py); after that only new
or changed files are embedded.
"""

import dataclasses
import hashlib
import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from datasets.folders import list_images_below, report_others
from phases.search.gallery_cache import GalleryCache
from run import checkpoint as checkpoints
from run.checkpoint import Checkpoint, TestableCheckpoint
from run.config import DATASET, Config
from run.lists import abbreviate
from utils.files import size_and_mtime
from utils.names import escape_undecodable, expand_home, normalize_unicode

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Gallery:
    """Photos by position: `names` below `root`, `categories` where known, `values` (N, f_dim, M), M flips."""

    root: Path
    names: list[str]
    categories: list[str | None]
    values: np.ndarray
    path: Path  # the file of features, with another name whenever they change


def load_checkpoint(config: Config) -> Checkpoint:
    """The checkpoint to search with; a TestableCheckpoint if the photos of its data set are searched.

    Photos of a folder are read in RGB unless --photo_channels says otherwise: the order of the training is a
    property of the data set's own files.
    """
    if config.search.gallery == DATASET:
        return checkpoints.load(config)
    channels = config.input.photo_channels if "photo_channels" in config.given else "rgb"
    # else it would have to agree with the training
    config = dataclasses.replace(config, given=config.given - {"photo_channels"})
    checkpoint = checkpoints.load_without_lists(config)
    trained = checkpoint.config.input.photo_channels
    if trained and channels and trained != channels:
        log.info(
            "photos of %s are fed in %s, those of the training were in %s; --photo_channels chooses",
            config.search.gallery,
            channels.upper(),
            trained.upper(),
        )
    return dataclasses.replace(checkpoint, config=checkpoint.config.with_values(photo_channels=channels))


def open_gallery(checkpoint: Checkpoint, device: torch.device, *, rebuild: bool = False) -> Gallery:
    """The gallery of --gallery with its features, brought up to date.

    `checkpoint` comes from `load_checkpoint`, its network on `device`. Raises UserError if the cached
    features are of another checkpoint or input; with `rebuild` they are replaced, and images that could not
    be read are tried again.
    """
    config = checkpoint.config
    categories: dict[str, str | None] = {}
    if isinstance(checkpoint, TestableCheckpoint):
        data = checkpoint.data
        root, folder = data.root, DATASET
        categories |= {name: data.categories[label] for name, label in sorted(data.gallery)}
        files = {name: size_and_mtime(root / name) for name in categories}
    else:
        root = expand_home(Path(config.search.gallery))
        path = root.resolve()
        # the digest tells folders of one name apart
        folder = f"{escape_undecodable(path.name)}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}"
        files = {}
        for name in list_folder(root):
            with suppress(FileNotFoundError):  # removed since the folder was listed
                files[name] = size_and_mtime(root / name)
                categories[name] = normalize_unicode(PurePosixPath(name).parent.name) or None
    cache = GalleryCache(config.folder / "index" / folder, root, checkpoint, device, rebuild=rebuild)
    features = cache.open(files)
    cache.report(features)
    return Gallery(
        root=root,
        names=list(features.files),
        categories=[categories[name] for name in features.files],
        values=features.values if config.test.mirror == "on" else features.values[..., :1],
        path=features.path,
    )


def list_folder(root: Path) -> list[str]:
    """The images below `root`, sorted; files that are left out are logged."""
    names, skipped, others = list_images_below(root)
    report_others(root, others)
    if skipped:
        log.warning(
            "warning: left out of %s, links to other places and names that are not UTF-8: %s",
            root,
            abbreviate(skipped),
        )
    return names
