"""The photos that are searched, and their features, kept below logs/<save_path>/index.

A gallery is the data set's, or a folder of images. Its features are computed once; when files come, change or
go, those files alone are looked at again. `gallery.json` is written last and names the file of features that
it describes: a process that is killed leaves the old state or the new one.
"""

import argparse
import hashlib
import json
import logging
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch

from datasets.folders import images_below
from phases import settings, trained
from phases.features import kept_photo_features, making_of, mapped
from phases.gallery_features import UNREADABLE, copy_features, embed_files
from phases.trained import Trained, Weights
from utils.errors import UserError
from utils.files import remove_leftovers, replacing, scratch, state_of, write_json
from utils.locks import exclusive

log = logging.getLogger(__name__)

DATASET = "dataset"  # what --gallery says for the photos of the data set
NAMED = 5  # files that a message names
RECORD, FEATURES = "gallery.json", "features.{}.npy"  # numbered, anew with every change

State = tuple[int, int]  # size and time of a file


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


@dataclass(frozen=True)
class Kept:
    """Features (N, f_dim, 2) of `files`, in their order; files that are `unreadable` have none."""

    values: np.ndarray
    files: dict[str, State]
    unreadable: dict[str, State] = field(default_factory=dict)
    state: str = ""


def load(options: argparse.Namespace) -> Weights:
    """The checkpoint to search with; with its lists if they are what is searched."""
    return trained.load(options) if options.gallery == DATASET else trained.load_weights(options)


def open_gallery(
    weights: Weights, options: argparse.Namespace, device: torch.device, *, renew: bool = False
) -> Gallery:
    """The gallery of --gallery with its features, computed or brought up to date if need be.

    `weights` is what `load` gave, its network on `device`. Raises UserError if features are kept that were
    made with other weights or another input, unless `renew`: then they are made anew, and images that could
    not be read are tried again.
    """
    listing = listed(weights, options)
    folder = folder_for(options)
    making = making_of(weights.network, options)
    kept = read(folder, making, weights, renew=renew, quiet=True)
    if kept is None or {**kept.files, **kept.unreadable} != listing.files:
        with exclusive(folder):
            remove_leftovers(folder)
            kept = read(folder, making, weights, renew=renew)  # another process may have been faster
            kept = update(kept, listing, folder, making, weights, options, device)
    report_unreadable(list(kept.unreadable), listing.root)
    return Gallery(
        root=listing.root,
        names=list(kept.files),
        categories=[listing.categories[name] for name in kept.files],
        values=kept.values if options.mirror == "on" else kept.values[..., :1],
        folder=folder,
        state=kept.state,
    )


def folder_for(options: argparse.Namespace) -> Path:
    """Where the features of --gallery are kept: folders of one name are told apart by their whole paths."""
    name = DATASET
    if options.gallery != DATASET:
        path = Path(options.gallery).expanduser().resolve()
        name = f"{path.name}-{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    return settings.run_folder(options) / "index" / name


def listed(weights: Weights, options: argparse.Namespace) -> Listing:
    """The photos of --gallery. In a folder, subfolders name the categories of what is in them."""
    if isinstance(weights, Trained) and options.gallery == DATASET:
        data = weights.data
        root, of_files = data.root, {name: data.categories[label] for name, label in sorted(data.gallery)}
        return Listing(root, {name: state_of(root / name) for name in of_files}, {**of_files})
    root = Path(options.gallery).expanduser()
    files = {}
    for name in list_folder(root):
        with suppress(FileNotFoundError):  # it went while others were looked at
            files[name] = state_of(root / name)
    return Listing(root, files, {name: PurePosixPath(name).parent.name or None for name in files})


def list_folder(root: Path) -> list[str]:
    """The images below `root`; what is passed over is said."""
    names, passed_over = images_below(root)
    if passed_over:
        log.warning(
            "warning: left out of %s, links to other places and names that are not UTF-8: %s",
            root,
            some(passed_over),
        )
    return names


def some(names: list[str]) -> str:
    """The first few of `names`, and how many there are if there are more."""
    return ", ".join(names[:NAMED]) + (f", ... ({len(names)} in all)" if len(names) > NAMED else "")


def read(
    folder: Path, making: dict[str, Any], weights: Weights, *, renew: bool, quiet: bool = False
) -> Kept | None:
    """What is kept in `folder`, None if there is nothing or, which is said unless `quiet`, of no use.

    Raises UserError if it was made with another checkpoint or input, unless `renew`.
    """
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        values = mapped(folder / Path(record["features"]).name)
        files, unreadable = (
            {name: (int(size), int(time)) for name, size, time in record[part]}
            for part in ("files", "unreadable")
        )
        if values.shape[:1] != (len(files),) or values.shape[2:] != (2,):
            raise ValueError("its features are not those of its files")
        made, step = dict(record["making"]), int(record["step"])
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        if not quiet:
            log.warning("warning: the index in %s cannot be read (%s): made anew", folder, error)
        return None
    if made != making:
        other = ", ".join(sorted(name for name in making if made.get(name) != making[name]))
        if not renew:
            raise UserError(
                f"the index in {folder} was made with other {other} (of step {step}, this is step "
                f"{weights.step}); make it anew with --phase=index and the same --gallery"
                + (f", or search with --pretrained_model={step}" if step != weights.step else "")
            )
        if not quiet:
            log.info("the index in %s is of other %s (step %d): made anew", folder, other, step)
        return None
    return Kept(values, files, {} if renew else unreadable, record["features"])


def update(
    kept: Kept | None,
    listing: Listing,
    folder: Path,
    making: dict[str, Any],
    weights: Weights,
    options: argparse.Namespace,
    device: torch.device,
) -> Kept:
    """Features of all files of `listing`, those of unchanged ones from `kept`; written to `folder`."""
    if kept is None:
        kept = kept_by_test(listing, weights, options, device)
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
    with scratch(folder / "fresh.npy") as temporary:
        new = kept.values[:0]
        if fresh:
            labels = embed_files(fresh, listing.root, temporary, weights.network, options, device)
            broken |= {name for name, label in zip(fresh, labels, strict=True) if label == UNREADABLE}
            new = mapped(temporary)
        readable = [name for name in listing.files if name not in broken]
        if not readable:
            raise UserError(f"no image in {listing.root} can be read, {min(broken)} first")
        state = free_name(folder)
        sources = {name: (new, row) for row, name in enumerate(fresh)}
        sources |= {name: (kept.values, row) for row, name in enumerate(kept.files) if name in known}
        with replacing(folder / state) as target:
            copy_features([sources[name] for name in readable], target, options.f_dim)
    files, unreadable = ({name: listing.files[name] for name in part} for part in (readable, sorted(broken)))
    record = {
        "features": state,
        "making": making,
        "step": weights.step,
        "versions": settings.versions(),
        "files": [[name, *each] for name, each in files.items()],
        "unreadable": [[name, *each] for name, each in unreadable.items()],
    }
    write_json(folder / RECORD, record, indent=None)
    for path in folder.glob(FEATURES.format("*") + "*"):  # and what was made from them
        if not path.name.startswith(state):
            path.unlink()
    return Kept(mapped(folder / state), files, unreadable, state)


def kept_by_test(
    listing: Listing, weights: Weights, options: argparse.Namespace, device: torch.device
) -> Kept:
    """What the last test of this checkpoint left of the data set's photos, else nothing."""
    nothing = Kept(np.zeros((0, options.f_dim, 2), np.float32), {})
    if not isinstance(weights, Trained) or options.gallery != DATASET:
        return nothing
    values = kept_photo_features(weights.network, weights.data, options, step=weights.step, device=device)
    if values is None:
        return nothing
    return Kept(values, {name: listing.files[name] for name, _ in weights.data.gallery})


def free_name(folder: Path) -> str:
    """A name for a file of features that none in `folder` has had."""
    taken = [int(path.suffixes[0][1:]) for path in folder.glob(FEATURES.format("*")) if path.suffixes]
    return FEATURES.format(1 + max(taken, default=0))


def report_unreadable(names: list[str], root: Path) -> None:
    if names:
        log.warning(
            "warning: %d images of %s cannot be read and are left out until they change, or until "
            "--phase=index: %s",
            len(names),
            root,
            some(names),
        )
