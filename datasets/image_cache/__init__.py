"""Pixels of images, kept in one file for as many runs as use them (--cache_images).

A file is mapped into memory and read as far as it is asked for. Its name carries a hash of all that its
pixels depend on: another list, a changed image or another version of the decoder is another file. Here stands
how a file comes to be, once, whole or not at all; what is in it, in kept_photos.py and kept_sketches.py.
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
from utils.signals import stop_requests

log = logging.getLogger(__name__)

SPARE = 2**26  # bytes that building leaves free at least, and a twentieth of the files


@dataclass(frozen=True)
class Contents:
    """What a file is to hold: an array of `shape`, uint8, that `chunks()` gives piece by piece, in order."""

    shape: tuple[int, ...]
    described: str  # "6 photos of 24 px"
    chunks: Callable[[], Iterable[np.ndarray]]

    @property
    def size(self) -> int:
        """In bytes."""
        return int(np.prod(self.shape, dtype=np.int64))


@dataclass(frozen=True)
class CachedImages(ABC):
    """The pixels of `images` in `file`, once `build_caches` has run; `row_of` gives the row of a path."""

    kind: str  # "photos" or "sketches"
    file: Path
    key: str
    made_by: dict[str, str | int]
    row_of: dict[str, int]
    images: ImageSet = field(compare=False, repr=False)  # in the order of the file

    @abstractmethod
    def contents(self, workers: int) -> Contents:
        """What the file is to hold, loaded by so many processes. Raises UserError at an unreadable image."""

    @abstractmethod
    def pixels(self, name: str) -> Any:
        """What is kept of the image at the path `name`."""

    @abstractmethod
    def check(self, pixels: np.ndarray) -> None:
        """Raise ValueError if the array in the file is not laid out as these images are."""

    def map_pixels(self) -> np.ndarray:
        return map_pixels(self.file)


@lru_cache(maxsize=8)
def map_pixels(file: Path) -> np.ndarray:
    """Opened once by each process: a map sent to another one would travel with all it holds."""
    return np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))


def place(
    images: ImageSet, folder: Path, kind: str, suffix: str = "", **made_by: str | int
) -> dict[str, Any]:
    """The fields of a `CachedImages`: where in `folder` the pixels of `images` are, and by what key.

    `made_by`: what these pixels depend on, beside the files and Pillow.
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


def build_caches(wanted: Sequence[CachedImages], *, workers: int) -> None:
    """Make the files of all that is `wanted`, in one folder, as far as they are not there.

    Waits while another process is building there. Raises UserError if an image cannot be read or the disk has
    no room for all of them. What is not whole then, or when a signal stops it, is not left behind.
    """
    missing = [(each, each.contents(workers)) for each in wanted if not is_whole(each)]
    if missing:
        folder = missing[0][0].file.parent
        check_room(folder, [contents for _, contents in missing])  # before the folder is made
        with wait_for_folder_lock(folder):
            # the process waited for may have made some
            missing = [(each, contents) for each, contents in missing if not is_whole(each)]
            remove_stale_temporaries(folder)
            check_room(folder, [contents for _, contents in missing])
            for each, contents in missing:
                build(each, contents)
                write_json(
                    key_path(each.file),
                    {"key": each.key, "shape": contents.shape, "made_by": each.made_by},
                )
    for each in wanted:
        log.info("%s taken from %s", each.kind, each.file)


def key_path(file: Path) -> Path:
    """The key lies beside the file, and is written last."""
    return file.with_suffix(".json")


def is_whole(kept: CachedImages) -> bool:
    """Whether the file holds what its key stands for."""
    try:
        known = read_json(key_path(kept.file))
        if known["key"] != kept.key:
            return False
        kept.check(read_array(kept.file, tuple(map(index, known["shape"])), np.uint8))
        return True
    except FileNotFoundError:
        return False
    except (OSError, ValueError, OverflowError, KeyError, TypeError) as error:
        log.info("%s in %s cannot be read (%s): made anew", kept.kind, kept.file, error)
        return False


def check_room(folder: Path, contents: list[Contents]) -> None:
    """Raise UserError unless the disk of `folder` has room for all `contents` and some more."""
    need = sum(each.size for each in contents)
    need += need // 20 + SPARE
    there = next(each for each in (folder, *folder.parents) if each.is_dir())
    free = shutil.disk_usage(there).free
    if contents and free < need:
        raise UserError(
            f"--cache_images needs {need / 1e9:.1f} GB in {folder} for "
            f"{' and '.join(each.described for each in contents)}, and {free / 1e9:.1f} GB are free; make "
            "room, put a link to another disk there, or leave the option out"
        )


def build(kept: CachedImages, contents: Contents) -> None:
    """Write `contents`; on the name of the file once it is whole."""
    file, written = kept.file, 0
    bar = tqdm(total=contents.size, unit="B", unit_scale=True, desc=f"keep {kept.kind}", dynamic_ncols=True)
    try:
        with bar, stop_requests() as stop, atomic_write(file) as temporary, temporary.open("wb") as out:
            out.write(header(contents.shape, np.uint8))
            for chunk in contents.chunks():
                written += out.write(chunk.data)
                bar.update(chunk.nbytes)
                if stop:
                    log.info("stopped: the %s are not kept", kept.kind)
                    raise SystemExit(stop.exit_code)
            if written != contents.size:
                raise UserError(f"images below {kept.images.root} changed while they were read; start again")
    except OSError as error:
        raise UserError(f"cannot write {file}: {error}; make room or leave --cache_images out") from error
    prefix = f"{kept.images.root.name}-{kept.kind}-"
    others = sorted(each.name for each in file.parent.glob(f"{escape(prefix)}*.npy") if each != file)
    if others:
        log.info("also in %s, for other lists, sizes or images: %s", file.parent, ", ".join(others))
