"""What is kept of a gallery: features of its files, and gallery.json, which says what they are of.

The record is written last and has the checksum of the features that it describes, which names their file: a
process that is killed leaves the old state or the new one.
"""

import logging
from dataclasses import dataclass, field, replace
from operator import index
from pathlib import Path
from typing import Any

import numpy as np

from run import provenance
from run.checkpoint import Checkpoint
from run.feature_files import map_features, reason, verify_features
from utils.errors import UserError
from utils.files import read_json, write_json

log = logging.getLogger(__name__)

RECORD, FEATURES = "gallery.json", "features.{}.npy"  # by the start of their checksum
ROUNDING = ("torch", "torchvision", "pillow")  # other versions of these may differ in the last digit

State = tuple[int, int]  # size and time of a file


@dataclass(frozen=True)
class GalleryFeatures:
    """Features (N, f_dim, 2) of `files`, in their order; files that are `unreadable` have none."""

    values: np.ndarray
    files: dict[str, State]
    unreadable: dict[str, State] = field(default_factory=dict)
    state: str = ""
    versions: dict[str, str] = field(default_factory=provenance.versions)  # that they were made with


def read(
    folder: Path, making: dict[str, Any], weights: Checkpoint, width: int, *, renew: bool, quiet: bool = False
) -> GalleryFeatures | None:
    """What is kept in `folder`, of `width` features an image; None if there is nothing or nothing of use.

    Why it is of no use is said unless `quiet`. Raises UserError if it was made with another checkpoint or
    input, unless `renew`; then what was made with other versions is of no use either.
    """
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        record = read_json(path)
        made, step, versions = dict(record["making"]), index(record["step"]), dict(record["versions"])
        # of an earlier version of this program
        renew = renew or any(made.get(part) != making[part] for part in ("format", "pixels"))
        other = sorted(name for name in making if made.get(name) != making[name])
        if renew:
            other += [name for name in ROUNDING if versions.get(name) != provenance.versions()[name]]
        kept = None if other else features_of(record, folder, width)
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        if not quiet:
            log.warning("warning: the index in %s cannot be used (%s): made anew", folder, reason(error))
        return None
    if kept is None and not renew:
        raise UserError(
            f"the index in {folder} was made with other {', '.join(other)} (of step {step}, this is step "
            f"{weights.step}); make it anew with --phase=index and the same --gallery"
            + (f", or search with --pretrained_model={step}" if step != weights.step else "")
        )
    if kept is None and not quiet:
        log.info("the index in %s is of other %s (step %d): made anew", folder, ", ".join(other), step)
    return replace(kept, unreadable={}) if kept and renew else kept


def features_of(record: dict[str, Any], folder: Path, width: int) -> GalleryFeatures:
    """The features that `record` describes, of so many numbers each.

    Raises ValueError, TypeError, KeyError or AttributeError if its form is another or their file not whole.
    """
    files, unreadable = (
        {name: (index(size), index(time)) for name, size, time in record[part]}
        for part in ("files", "unreadable")
    )
    state = state_for(record["sha256"])
    values = map_features(folder / state, len(files), width)
    verify_features(values, record["sha256"], list(files), folder / state)
    return GalleryFeatures(values, files, unreadable, state, dict(record["versions"]))


def write(folder: Path, digest: str, kept: GalleryFeatures, making: dict[str, Any], step: int) -> None:
    """Write the record of the features `kept`, whose file has the checksum `digest`."""
    record = {
        "sha256": digest,
        "making": making,
        "step": step,
        "versions": kept.versions,
        "files": [[name, *each] for name, each in kept.files.items()],
        "unreadable": [[name, *each] for name, each in kept.unreadable.items()],
    }
    write_json(folder / RECORD, record, indent=None)


def state_for(digest: str) -> str:
    """The name of the file of features with this checksum."""
    return FEATURES.format(digest[:12])


def remove_others(folder: Path, state: str) -> None:
    """Remove features of earlier states, and what was made from them."""
    for path in folder.glob(FEATURES.format("*") + "*"):
        if not path.name.startswith(state):
            path.unlink()


def report_versions(versions: dict[str, str], folder: Path) -> None:
    """Say if the features were made with other versions than are at work on the query."""
    now = provenance.versions()
    other = [f"{name} {versions.get(name)}" for name in ROUNDING if versions.get(name) != now[name]]
    if other:
        log.warning(
            "warning: the index in %s was made with %s: distances may differ in the last digits; "
            "--phase=index makes it anew",
            folder,
            ", ".join(other),
        )
