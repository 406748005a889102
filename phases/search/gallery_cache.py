"""The cached features of a gallery: a file of features, and gallery.json, which describes it.

gallery.json is written last and has the checksum of the features, which also names their file: a process that
is killed leaves the old state or the new one.
"""

import logging
from dataclasses import dataclass, field
from operator import index
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from datasets import PHOTO
from datasets.images import FORMATS_IN_WORDS, UnreadableImage
from datasets.loaders import ImageSet, ordered_batches
from datasets.readable import reason_unreadable
from retrieval.embed import embed
from run import provenance
from run.checkpoint import Checkpoint, TestableCheckpoint
from run.feature_files import create_feature_file, describe_error, map_features, verify_features
from run.features import embedding_fingerprint, load_photo_features
from run.input import photo_transform
from run.lists import MAX_LISTED
from utils.checksums import sha256
from utils.errors import Diverged, UserError, one_line
from utils.files import (
    flush_to_disk,
    read_json,
    remove_stale_temporaries,
    size_and_mtime,
    temporary_path,
    with_filename,
    write_json,
)
from utils.locks import folder_lock

log = logging.getLogger(__name__)

RECORD, FEATURES = "gallery.json", "features.{}.npy"  # with the first digits of its checksum
ROUNDING = ("torch", "torchvision", "pillow")  # other versions of these may differ in the last digit
UNREADABLE = -1  # label of an image that cannot be read

FileState = tuple[int, int]  # size and modification time


@dataclass(frozen=True)
class GalleryFeatures:
    """`values` (N, f_dim, 2) float32: features of `files`, in their order; `unreadable` files have none."""

    values: np.ndarray
    files: dict[str, FileState]
    unreadable: dict[str, FileState] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=provenance.versions)  # of the libraries then
    path: Path = Path()

    def is_current(self, files: dict[str, FileState]) -> bool:
        """Whether these are the features of `files` as they are now."""
        return {**self.files, **self.unreadable} == files


class GalleryCache:
    """The features of the images below `root`, in `folder`.

    With `rebuild`, features of another checkpoint, input or version are replaced, and images that could not
    be read are tried again.
    """

    def __init__(
        self, folder: Path, root: Path, checkpoint: Checkpoint, device: torch.device, *, rebuild: bool
    ) -> None:
        self.folder, self.root, self.checkpoint, self.device = folder, root, checkpoint, device
        self.rebuild = rebuild
        self.record = folder / RECORD
        self.width = checkpoint.config.network.f_dim
        self.fingerprint = embedding_fingerprint(checkpoint.network, checkpoint.config)

    def open(self, files: dict[str, FileState]) -> GalleryFeatures:
        """The features of `files`, computed where they are missing. The folder is locked only to write."""
        state = file_state(self.record)
        features = None if self.rebuild else self.load()
        if features is None or not features.is_current(files):
            with folder_lock(self.folder):
                remove_stale_temporaries(self.folder)
                if self.rebuild or file_state(self.record) != state:  # another process may have been faster
                    features = self.load()
                if features is None or not features.is_current(files):
                    features = self.update(features or self.features_of_last_test(files), files)
                for path in self.folder.glob(FEATURES.format("*") + "*"):
                    if not path.name.startswith(features.path.name):  # an index over them stays as well
                        path.unlink()
        return features

    def load(self) -> GalleryFeatures | None:
        """The cached features; None if there are none, or, after a message, if they must be rebuilt.

        Raises UserError if they were computed with another checkpoint or input, unless `rebuild`.
        """
        if not self.record.is_file():
            return None
        try:
            record = read_json(self.record)
            step, versions = index(record["step"]), dict(record["versions"])
            fingerprint = dict(record["making"])
            changed = sorted(key for key, value in self.fingerprint.items() if fingerprint.get(key) != value)
            # after an update of this program its own format is another, which is no mistake of the user
            replace = self.rebuild or "format" in changed or "pixels" in changed
            if replace:
                changed += changed_versions(versions)
            if not changed:
                return self.read_features(record)
        except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
            log.warning(
                "warning: the index in %s cannot be used (%s): rebuilding it",
                self.folder,
                describe_error(error),
            )
            return None
        others = ", ".join(changed)
        if replace:
            log.info("the index in %s has other %s (step %d): rebuilding it", self.folder, others, step)
            return None
        hint = f", or search with --pretrained_model={step}" if step != self.checkpoint.step else ""
        raise UserError(
            f"the index in {self.folder} was made with other {others} (of step {step}, this is step "
            f"{self.checkpoint.step}); rebuild it with --phase=index and the same --gallery{hint}"
        )

    def read_features(self, record: dict[str, Any]) -> GalleryFeatures:
        """Map the features that `record` describes, and verify them.

        Raises ValueError, TypeError, KeyError or AttributeError if the two do not fit, or are damaged.
        """
        files, unreadable = (
            {name: (index(size), index(time)) for name, size, time in record[part]}
            for part in ("files", "unreadable")
        )
        path = self.features_path(record["sha256"])
        values = map_features(path, len(files), self.width)
        verify_features(values, record["sha256"], list(files), path)
        if self.rebuild:
            unreadable = {}
        return GalleryFeatures(values, files, unreadable, dict(record["versions"]), path)

    def features_path(self, checksum: str) -> Path:
        return self.folder / FEATURES.format(checksum[:12])

    def features_of_last_test(self, files: dict[str, FileState]) -> GalleryFeatures:
        """What a test of this checkpoint left of the data set's photos, else nothing."""
        checkpoint = self.checkpoint
        if isinstance(checkpoint, TestableCheckpoint):
            data = checkpoint.data
            values = load_photo_features(
                checkpoint.network, data, checkpoint.config, step=checkpoint.step, device=self.device
            )
            if values is not None:
                return GalleryFeatures(values, {name: files[name] for name, _ in data.gallery})
        return GalleryFeatures(np.zeros((0, self.width, 2), np.float32), {})

    def update(self, old: GalleryFeatures, files: dict[str, FileState]) -> GalleryFeatures:
        """Embed the new and the changed ones of `files`, take the others from `old`, and write all."""
        same = {name for name, state in old.files.items() if files.get(name) == state}
        unreadable = {name for name, state in old.unreadable.items() if files.get(name) == state}
        new = [name for name in files if name not in same and name not in unreadable]
        gone = {*old.files, *old.unreadable}.difference(files)
        counts = (len(files), len(new), len(gone))
        log.info("gallery %s: %d photos, %d new or changed, %d gone", self.root, *counts)
        rows = {name: (old.values, row) for row, name in enumerate(old.files) if name in same}
        with (
            temporary_path(self.folder / "fresh.npy") as fresh,
            temporary_path(self.folder / "features.npy") as path,
        ):
            if new:
                unreadable |= self.embed(new, fresh)
                values = map_features(fresh, len(new), self.width)
                rows |= {name: (values, row) for row, name in enumerate(new)}
            readable = [name for name in files if name not in unreadable]
            if not readable:
                reasons = with_reasons(sorted(unreadable), self.root)
                raise UserError(f"no image in {self.root} can be read: {reasons}; give {FORMATS_IN_WORDS}")
            with with_filename(self.record):
                checksum = self.write_rows([rows[name] for name in readable], path)
        path = self.features_path(checksum)
        features = GalleryFeatures(
            map_features(path, len(readable), self.width),
            {name: files[name] for name in readable},
            {name: files[name] for name in sorted(unreadable)},
            old.versions if same else provenance.versions(),
            path,
        )
        record = {
            "sha256": checksum,
            "making": self.fingerprint,
            "step": self.checkpoint.step,
            "versions": features.versions,
            "files": [[name, *state] for name, state in features.files.items()],
            "unreadable": [[name, *state] for name, state in features.unreadable.items()],
        }
        write_json(self.record, record, indent=None)
        return features

    def embed(self, names: list[str], path: Path) -> set[str]:
        """Write the features of `names` to a new file at `path`, and return those that are unreadable."""
        checkpoint, data = self.checkpoint, self.checkpoint.config.data
        images = ReadableImages(
            self.root, [(name, 0) for name in names], PHOTO, photo_transform(checkpoint.config)
        )
        batches = ordered_batches(images, data.batch_size, workers=data.num_workers, device=self.device)
        file = create_feature_file(path, (2, len(names), self.width))
        labels: list[int] = []
        with tqdm(total=len(names), unit="image", desc="embed gallery", dynamic_ncols=True) as bar:
            for batch in batches:
                (part,) = embed(checkpoint.network, [batch], domain=PHOTO, device=self.device)
                if not part.isfinite().all():
                    raise Diverged(
                        f"features of {self.root} are not finite: the training diverged, take another step"
                    )
                count = part.shape[1]  # of (2, B, f_dim)
                file[:, len(labels) : len(labels) + count] = part.cpu().numpy()
                labels += batch[1].tolist()
                bar.update(count)
        file.flush()
        return {name for name, label in zip(names, labels, strict=True) if label == UNREADABLE}

    def report(self, features: GalleryFeatures) -> None:
        """Log which images were left out, and whether the features come from other versions of libraries."""
        other = [f"{name} {features.versions.get(name)}" for name in changed_versions(features.versions)]
        if other:
            log.warning(
                "warning: the index in %s was made with %s: distances may differ in the last digits; "
                "--phase=index rebuilds it",
                self.folder,
                ", ".join(other),
            )
        if features.unreadable:
            log.warning(
                "warning: unreadable images of %s are left out until they change or --phase=index is run "
                "(%d): %s; formats that are read: %s",
                self.root,
                len(features.unreadable),
                with_reasons(list(features.unreadable), self.root),
                FORMATS_IN_WORDS,
            )

    def write_rows(self, rows: list[tuple[np.ndarray, int]], path: Path) -> str:
        """Write rows of arrays of features to `path`, give the file its name, and return its checksum."""
        file = create_feature_file(path, (2, len(rows), self.width))
        for position, (values, row) in enumerate(rows):
            file[:, position] = values[row].T
        file.flush()
        flush_to_disk(path)
        checksum = sha256(path)
        path.replace(self.features_path(checksum))
        return checksum


class ReadableImages(ImageSet):
    """As `ImageSet`, but an unreadable image is black, with the label UNREADABLE."""

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int] | UserError:
        sample = super().__getitem__(key)
        if isinstance(sample, UnreadableImage):
            black = Image.new("RGB", (1, 1))
            return self.transform.augment(self.transform.prepare(black)), UNREADABLE
        return sample


def file_state(path: Path) -> FileState | None:
    """The size and modification time of a file; None if there is none."""
    return size_and_mtime(path) if path.is_file() else None


def changed_versions(used: dict[str, str]) -> list[str]:
    """The libraries whose versions now are others than were `used`."""
    now = provenance.versions()
    return [name for name in ROUNDING if used.get(name) != now[name]]


def with_reasons(names: list[str], root: Path) -> str:
    """The first few of `names`, each with why it is unreadable."""
    texts = [f"{name} ({reason_unreadable(root / name) or 'readable by now'})" for name in names[:MAX_LISTED]]
    return one_line(", ".join(texts)) + (", ..." if len(names) > MAX_LISTED else "")
