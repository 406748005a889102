"""Image cache: the decoded pixels of many images in one file, shared by all runs (--cache_images).

A file is memory-mapped and read on demand. Its name contains a hash of everything its pixels depend on: other
lists, a changed image or another decoder version give another file. This module builds cache files
atomically; photos.py and sketches.py define their contents.
"""

import hashlib
import json
import logging
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from glob import escape
from operator import index
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from tqdm import tqdm

from datasets.images import PIXEL_VERSION
from datasets.loaders import ImageSet
from utils.arrays import header, read_array
from utils.errors import UserError
from utils.files import atomic_write, hash_stats, read_json, remove_stale_temporaries, write_json
from utils.locks import wait_for_folder_lock
from utils.signals import catch_stop_signals

log = logging.getLogger(__name__)

SPARE_BYTES = 2**26  # disk space that stays free, on top of 1/20 of the files' size


@dataclass(frozen=True)
class Contents:
    """Contents of a cache file: a uint8 array of `shape`, which `chunks()` yields in order."""

    shape: tuple[int, ...]
    description: str  # "6 photos of 24 px"
    chunks: Callable[[], Iterable[np.ndarray]]

    @property
    def size(self) -> int:
        """In bytes."""
        return int(np.prod(self.shape, dtype=np.int64))


@dataclass(frozen=True)
class CachedImages(ABC):
    """The cached pixels of `images` in `file`, written by `build_caches`; `row_of` maps a path to its row."""

    kind: str  # "photos" or "sketches"
    file: Path
    key: str
    made_by: dict[str, str | int]
    row_of: dict[str, int]
    images: ImageSet = field(compare=False, repr=False)  # in the order of the file

    @abstractmethod
    def contents(self, workers: int) -> Contents:
        """The contents to write, loaded by `workers`. Raises UserError at an unreadable image."""

    @abstractmethod
    def pixels(self, name: str) -> Any:
        """The cached pixels of the image at the path `name`."""

    @abstractmethod
    def check(self, pixels: np.ndarray) -> None:
        """Raise ValueError if the array does not have the layout of these images."""

    def map_pixels(self) -> np.ndarray:
        return map_pixels(self.file)


@lru_cache(maxsize=8)
def map_pixels(file: Path) -> np.ndarray:
    """Map a file once per process; pickling a map would copy all of its data."""
    return np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))


def cache_fields(
    images: ImageSet, folder: Path, kind: str, suffix: str = "", **made_by: str | int
) -> dict[str, Any]:
    """The fields of a `CachedImages` for `images` in `folder`.

    `made_by`: what the pixels depend on besides the image files and Pillow.
    """
    made_by = {"pixels": PIXEL_VERSION, "pillow": PIL.__version__, **made_by}
    names = [name for name, _ in images.entries]
    digest = hashlib.sha256(json.dumps(made_by).encode())
    hash_stats(digest, images.root, names)
    key = digest.hexdigest()
    return {
        "kind": kind,
        "file": folder.resolve() / f"{images.root.name}-{kind}{suffix}-{key[:12]}.npy",
        "key": key,
        "made_by": made_by,
        "row_of": {name: row for row, name in enumerate(names)},
        "images": images,
    }


def build_caches(caches: Sequence[CachedImages], *, workers: int) -> None:
    """Build the missing ones of `caches`, all in one folder.

    Waits while another process is building there. Raises UserError if an image cannot be read or the disk is
    too small for all of them. Leaves no partial file behind, also when stopped by a signal.
    """
    missing = [(cached, cached.contents(workers)) for cached in caches if not is_whole(cached)]
    if missing:
        folder = missing[0][0].file.parent
        check_disk_space(folder, [contents for _, contents in missing])  # before the folder is created
        with wait_for_folder_lock(folder):
            # another process may have built some meanwhile
            missing = [(cached, contents) for cached, contents in missing if not is_whole(cached)]
            remove_stale_temporaries(folder)
            check_disk_space(folder, [contents for _, contents in missing])
            for cached, contents in missing:
                write_cache(cached, contents)
                write_json(
                    key_path(cached.file),
                    {"key": cached.key, "shape": contents.shape, "made_by": cached.made_by},
                )
    for cached in caches:
        log.info("reading %s from the cache %s", cached.kind, cached.file)


def key_path(file: Path) -> Path:
    """The key file beside a cache file; it is written last."""
    return file.with_suffix(".json")


def is_whole(cached: CachedImages) -> bool:
    """Whether the file exists, matches its key and is complete."""
    try:
        known = read_json(key_path(cached.file))
        if known["key"] != cached.key:
            return False
        cached.check(read_array(cached.file, tuple(map(index, known["shape"])), np.uint8))
        return True
    except FileNotFoundError:
        return False
    except (OSError, ValueError, OverflowError, KeyError, TypeError) as error:
        log.info("cannot read the cached %s in %s (%s): rebuilding", cached.kind, cached.file, error)
        return False


def check_disk_space(folder: Path, contents: list[Contents]) -> None:
    """Raise UserError unless the disk of `folder` has room for all `contents`, with a reserve."""
    need = sum(content.size for content in contents)
    need += need // 20 + SPARE_BYTES
    existing = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    free = shutil.disk_usage(existing).free
    if contents and free < need:
        raise UserError(
            f"--cache_images needs {need / 1e9:.1f} GB in {folder} for "
            f"{' and '.join(content.description for content in contents)}, but only {free / 1e9:.1f} GB are "
            "free; free some space, make the folder a link to another disk, or drop the option"
        )


def write_cache(cached: CachedImages, contents: Contents) -> None:
    """Write `contents` to the cache file, atomically."""
    file, written = cached.file, 0
    bar = tqdm(
        total=contents.size, unit="B", unit_scale=True, desc=f"cache {cached.kind}", dynamic_ncols=True
    )
    try:
        with bar, catch_stop_signals() as stop, atomic_write(file) as temporary, temporary.open("wb") as out:
            out.write(header(contents.shape, np.uint8))
            for chunk in contents.chunks():
                written += out.write(chunk.data)
                bar.update(chunk.nbytes)
                if stop:
                    log.info("interrupted; the cache of %s was not written", cached.kind)
                    raise SystemExit(stop.exit_code)
            if written != contents.size:
                raise UserError(f"images below {cached.images.root} changed while being read; start again")
    except OSError as error:
        raise UserError(f"cannot write {file}: {error}; free some space or drop --cache_images") from error
    prefix = f"{cached.images.root.name}-{cached.kind}-"
    others = sorted(path.name for path in file.parent.glob(f"{escape(prefix)}*.npy") if path != file)
    if others:
        log.info("%s also has caches of other lists, sizes or images: %s", file.parent, ", ".join(others))
