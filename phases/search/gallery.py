"""The photos that are searched, and their features, kept below logs/<save_path>/index.

A gallery is the data set's, or a folder of images. Its features are computed once; when files come, change or
go, those files alone are looked at again. How they are kept stands in gallery_record.py.
"""

import dataclasses
import hashlib
import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeGuard

import numpy as np
import torch

from datasets.folders import list_images_below, report_others
from datasets.images import FORMATS_IN_WORDS
from datasets.readable import reason_unreadable
from phases.search.gallery_features import UNREADABLE, copy_features, embed_files
from phases.search.gallery_record import (
    RECORD,
    GalleryFeatures,
    State,
    read,
    remove_others,
    report_versions,
    state_for,
    write,
)
from run import checkpoint, provenance
from run.checkpoint import Checkpoint, TestableCheckpoint
from run.config import DATASET, Config
from run.feature_files import map_features
from run.features import embedding_fingerprint, load_photo_features
from run.lists import NAMED, abbreviate
from utils.checksums import sha256
from utils.errors import UserError, one_line
from utils.files import flush, remove_stale_temporaries, size_and_mtime, temporary_path, with_filename
from utils.locks import folder_lock
from utils.names import compose_unicode, expand_home, printable

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Gallery:
    """Photos by position: `names` below `root`, `categories` where they are known, `values` (N, f_dim, M)."""

    root: Path
    names: list[str]
    categories: list[str | None]
    values: np.ndarray
    folder: Path  # where its features are kept, and what is made from them
    state: str  # the file of its features, another one whenever the gallery changes


@dataclass(frozen=True)
class Listing:
    """The files of a gallery as they are now, sorted by name, and their categories where they are known."""

    root: Path
    files: dict[str, State]
    categories: dict[str, str | None]


def load(config: Config) -> Checkpoint:
    """The checkpoint to search with; with its lists if they are what is searched.

    Photos of a folder are fed in RGB unless --photo_channels is given, whatever the order of the data set
    that was trained on: that order is a property of the data set's own files.
    """
    if config.search.gallery == DATASET:
        return checkpoint.load(config)
    channels = config.input.photo_channels if "photo_channels" in config.given else "rgb"
    # it need not be that of the training
    weights = checkpoint.load_weights(dataclasses.replace(config, given=config.given - {"photo_channels"}))
    of_training = weights.config.input.photo_channels
    if of_training and channels and of_training != channels:
        log.info(
            "photos of %s are fed in %s, those of the training were in %s; --photo_channels chooses",
            config.search.gallery,
            channels.upper(),
            of_training.upper(),
        )
    fed = weights.config.with_values(photo_channels=channels)
    return dataclasses.replace(weights, config=fed)


def open_gallery(
    weights: Checkpoint, config: Config, device: torch.device, *, renew: bool = False
) -> Gallery:
    """The gallery of --gallery with its features, computed or brought up to date if need be.

    `weights` is what `load` gave, its network on `device`. Raises UserError if features are kept that were
    made with other weights or another input, unless `renew`: then they are made anew, and images that could
    not be read are tried again.
    """
    listing = listed(weights, config)
    folder = folder_for(config)
    making = embedding_fingerprint(weights.network, config)
    kept = None if renew else read(folder, making, weights, config.network.f_dim, renew=False, quiet=True)
    if not is_of(kept, listing):
        with folder_lock(folder):
            remove_stale_temporaries(folder)
            kept = read(
                folder, making, weights, config.network.f_dim, renew=renew
            )  # another process may be faster
            if not is_of(kept, listing):
                kept = update(kept, listing, folder, making, weights, config, device)
            remove_others(folder, kept.state)
    report_versions(kept.versions, folder)
    report_unreadable(list(kept.unreadable), listing.root)
    return Gallery(
        root=listing.root,
        names=list(kept.files),
        categories=[listing.categories[name] for name in kept.files],
        values=kept.values if config.test.mirror == "on" else kept.values[..., :1],
        folder=folder,
        state=kept.state,
    )


def is_of(kept: GalleryFeatures | None, listing: Listing) -> TypeGuard[GalleryFeatures]:
    """Whether `kept` has the features of the files as they are now."""
    return kept is not None and {**kept.files, **kept.unreadable} == listing.files


def folder_for(config: Config) -> Path:
    """Where the features of --gallery are kept: folders of one name are told apart by their whole paths."""
    name = DATASET
    if config.search.gallery != DATASET:
        path = expand_home(Path(config.search.gallery)).resolve()
        name = f"{printable(path.name)}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}"
    return config.folder / "index" / name


def listed(weights: Checkpoint, config: Config) -> Listing:
    """The photos of --gallery. In a folder, subfolders name the categories of what is in them."""
    if isinstance(weights, TestableCheckpoint) and config.search.gallery == DATASET:
        data = weights.data
        root, of_files = data.root, {name: data.categories[label] for name, label in sorted(data.gallery)}
        return Listing(root, {name: size_and_mtime(root / name) for name in of_files}, {**of_files})
    root = expand_home(Path(config.search.gallery))
    files = {}
    for name in list_folder(root):
        with suppress(FileNotFoundError):  # it went while others were looked at
            files[name] = size_and_mtime(root / name)
    return Listing(
        root, files, {name: compose_unicode(PurePosixPath(name).parent.name) or None for name in files}
    )


def list_folder(root: Path) -> list[str]:
    """The images below `root`; what is passed over is said."""
    names, passed_over, others = list_images_below(root)
    report_others(root, others)
    if passed_over:
        log.warning(
            "warning: left out of %s, links to other places and names that are not UTF-8: %s",
            root,
            abbreviate(passed_over),
        )
    return names


def update(
    kept: GalleryFeatures | None,
    listing: Listing,
    folder: Path,
    making: dict[str, Any],
    weights: Checkpoint,
    config: Config,
    device: torch.device,
) -> GalleryFeatures:
    """Features of all files of `listing`, those of unchanged ones from `kept`; written to `folder`."""
    if kept is None:
        kept = kept_by_test(listing, weights, config, device)
    known = {name for name, state in kept.files.items() if listing.files.get(name) == state}
    broken = {name for name, state in kept.unreadable.items() if listing.files.get(name) == state}
    fresh = [name for name in listing.files if name not in known | broken]
    gone = len({*kept.files, *kept.unreadable} - set(listing.files))
    log.info(
        "gallery %s: %d photos, %d new or changed, %d gone",
        listing.root,
        len(listing.files),
        len(fresh),
        gone,
    )
    with temporary_path(folder / "fresh.npy") as temporary:
        new = kept.values[:0]
        if fresh:
            labels = embed_files(fresh, listing.root, temporary, weights.network, config, device)
            broken |= {name for name, label in zip(fresh, labels, strict=True) if label == UNREADABLE}
            new = map_features(temporary, len(fresh), config.network.f_dim)
        readable = [name for name in listing.files if name not in broken]
        if not readable:
            raise UserError(
                f"no image in {listing.root} can be read: {with_reasons(sorted(broken), listing.root)}; "
                f"give {FORMATS_IN_WORDS}"
            )
        sources = {name: (new, row) for row, name in enumerate(fresh)}
        sources |= {name: (kept.values, row) for row, name in enumerate(kept.files) if name in known}
        with with_filename(folder / RECORD), temporary_path(folder / "features.npy") as whole:
            copy_features([sources[name] for name in readable], whole, config.network.f_dim)
            digest = sha256(whole)
            flush(whole)
            whole.replace(folder / state_for(digest))
    files, unreadable = ({name: listing.files[name] for name in part} for part in (readable, sorted(broken)))
    state = state_for(digest)
    values = map_features(folder / state, len(files), config.network.f_dim)
    versions = kept.versions if known else provenance.versions()
    now = GalleryFeatures(values, files, unreadable, state, versions)
    write(folder, digest, now, making, weights.step)
    return now


def kept_by_test(
    listing: Listing, weights: Checkpoint, config: Config, device: torch.device
) -> GalleryFeatures:
    """What the last test of this checkpoint left of the data set's photos, else nothing."""
    nothing = GalleryFeatures(np.zeros((0, config.network.f_dim, 2), np.float32), {})
    if not isinstance(weights, TestableCheckpoint) or config.search.gallery != DATASET:
        return nothing
    values = load_photo_features(weights.network, weights.data, config, step=weights.step, device=device)
    if values is None:
        return nothing
    return GalleryFeatures(values, {name: listing.files[name] for name, _ in weights.data.gallery})


def report_unreadable(names: list[str], root: Path) -> None:
    if names:
        log.warning(
            "warning: %d images of %s cannot be read and are left out until they change, or until "
            "--phase=index: %s; formats that are read: %s",
            len(names),
            root,
            with_reasons(names, root),
            FORMATS_IN_WORDS,
        )


def with_reasons(names: list[str], root: Path) -> str:
    """The first few of `names`, each with what is wrong with it now."""
    shown = [f"{name} ({reason_unreadable(root / name) or 'readable by now'})" for name in names[:NAMED]]
    return one_line(", ".join(shown)) + (", ..." if len(names) > NAMED else "")
