"""Decoded and resized photos, kept in one file for as many runs as use them.

The way of a photo up to the mirror is always the same, so it is gone once: the file holds (N, 3, S, S) uint8
RGB and is mapped into memory, read as far as it is asked for. Channel order, mirror and normalisation come
after it, so one file serves every run of a size. Its name carries a hash of all that its pixels depend on:
another list, a changed photo or another version of the resizing is another file.
"""

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from glob import escape
from pathlib import Path

import numpy as np
import PIL
import torch
from torch import Tensor
from tqdm import tqdm

from datasets import PHOTO
from datasets.loaders import ImageSet, pixel_batches
from datasets.transforms import photo_test
from utils.errors import UserError
from utils.files import replacing, write_json
from utils.locks import Busy, exclusive
from utils.signals import stop_requests

log = logging.getLogger(__name__)

VERSION = 1  # of the file and of what is done to the pixels: to be raised with any change of either
BATCH = 32  # photos that a process hands over at once
SPARE = 2**26  # bytes that building leaves free at least, and a twentieth of the file


@dataclass(frozen=True)
class KeptPhotos:
    """The photos in `file`; `row_of` says where each path is."""

    file: Path
    row_of: dict[str, int]

    def pixels(self, name: str) -> Tensor:
        """The photo at the path `name`, uint8 (3, S, S), memory of its own."""
        return torch.from_numpy(np.array(mapped(self.file)[self.row_of[name]]))


@lru_cache(maxsize=8)
def mapped(file: Path) -> np.ndarray:
    """Opened once by each process: a map sent to another one would travel with all it holds."""
    return np.load(file, mmap_mode="r", allow_pickle=False)


def keep_photos(root: Path, names: Iterable[str], size: int, folder: Path, *, workers: int) -> KeptPhotos:
    """The photos `names` below `root` at `size`, from their file in `folder`, made with `workers` processes.

    Waits while another process is building there. Raises UserError if a photo cannot be read or the disk
    has no room; nothing is left behind then, nor when a signal stops it.
    """
    names = sorted(set(names))
    shape = (len(names), 3, size, size)
    key = photos_key(root, names, size)
    file = folder.resolve() / f"{root.name}-photos-{size}-{key[:12]}.npy"
    if not is_whole(file, shape, key):
        check_room(file, shape)  # before the folder is made
        with in_turn(file.parent):
            if not is_whole(file, shape, key):  # the process waited for may have made it
                remove_leftovers(file.parent)
                check_room(file, shape)
                build(
                    file,
                    shape,
                    ImageSet(root, [(name, 0) for name in names], PHOTO, photo_test(size)),
                    workers,
                )
                write_json(key_path(file), {"key": key, "shape": shape, "made_by": made_by()})
    log.info("photos taken from %s", file)
    return KeptPhotos(file, {name: row for row, name in enumerate(names)})


def photos_key(root: Path, names: list[str], size: int) -> str:
    """SHA-256 over all that the pixels depend on: paths, sizes and times of the files, and what resizes."""
    digest = hashlib.sha256(json.dumps([made_by(), size]).encode())
    for name in names:
        status = (root / name).stat()
        digest.update(f"{name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def made_by() -> dict[str, str | int]:
    """What decodes and resizes. The processor too: its instructions may round differently by 1."""
    return {
        "version": VERSION,
        "pillow": PIL.__version__,
        "torch": str(torch.__version__),
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }


def key_path(file: Path) -> Path:
    """The key lies beside the file, and is written last."""
    return file.with_suffix(".json")


def is_whole(file: Path, shape: tuple[int, ...], key: str) -> bool:
    """Whether `file` holds what `key` stands for."""
    try:
        if json.loads(key_path(file).read_text(encoding="utf-8"))["key"] != key:
            return False
        photos = np.load(file, mmap_mode="r", allow_pickle=False)
        return photos.shape == shape and photos.dtype == np.uint8
    except FileNotFoundError:
        return False
    except (OSError, ValueError, EOFError, KeyError, TypeError) as error:
        log.info("photos in %s cannot be read (%s): made anew", file, error)
        return False


def check_room(file: Path, shape: tuple[int, ...]) -> None:
    """Raise UserError unless the disk has room for `file` and some more."""
    need = int(np.prod(shape, dtype=np.int64))
    need += need // 20 + SPARE
    place = next(each for each in file.parents if each.is_dir())
    free = shutil.disk_usage(place).free
    if free < need:
        raise UserError(
            f"--cache_images needs {need / 1e9:.1f} GB in {file.parent} for {shape[0]} photos of {shape[-1]} "
            f"px, and {free / 1e9:.1f} GB are free; make room, put a link to another disk there, or leave "
            "the option out"
        )


def build(file: Path, shape: tuple[int, ...], images: ImageSet, workers: int) -> None:
    """Write all of `images`, in order; on the name `file` once it is whole."""
    bar = tqdm(total=shape[0], unit="photo", desc="keep photos", dynamic_ncols=True)
    try:
        with bar, stop_requests() as stop, replacing(file) as temporary, temporary.open("wb") as out:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(out, header)
            for photos, _ in pixel_batches(images, BATCH, workers=workers):  # (B, 3, S, S)
                out.write(photos.numpy().data)
                bar.update(len(photos))
                if stop:
                    log.info("stopped: the photos are not kept")
                    raise SystemExit(stop.exit_code)
    except OSError as error:
        raise UserError(f"cannot write {file}: {error}; make room or leave --cache_images out") from error
    others = sorted(each.name for each in file.parent.glob(f"{escape(images.root.name)}-photos-*.npy"))
    others.remove(file.name)
    if others:
        log.info("also in %s, for other lists, sizes or photos: %s", file.parent, ", ".join(others))


def remove_leftovers(folder: Path) -> None:
    """Remove what a build left that was killed: nobody else writes here now."""
    for each in folder.glob(".*.npy.*.tmp"):
        log.info("removing %s, the rest of a build that was killed", each)
        each.unlink()


@contextmanager
def in_turn(folder: Path) -> Iterator[None]:
    """Hold `folder`, after waiting for whoever holds it."""
    with ExitStack() as stack:
        holder = ""
        while True:
            try:
                stack.enter_context(exclusive(folder))
                break
            except Busy as busy:
                if str(busy) != holder:
                    log.info("%s: waiting for it", busy)
                holder = str(busy)
                time.sleep(0.5)
        yield
