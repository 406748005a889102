"""Indices over a gallery, kept in files beside its features, each with its checksum beside it.

FAISS reads files in C++ that does not withstand damaged ones: it is given none but what was written here.
"""

import hashlib
import logging
from math import prod
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from phases.search.gallery import Gallery
from retrieval import approximate, flat
from retrieval.binary import Binary
from retrieval.hashing import CodeMap, binary_codes, fit_code_map
from retrieval.search import packed
from run.checkpoint import Checkpoint
from run.config import Config
from utils.arrays import read_array, write_array
from utils.checksums import verify_checksum, write_checksum
from utils.errors import UserError
from utils.files import atomic_write, remove_stale_temporaries
from utils.locks import folder_lock

log = logging.getLogger(__name__)


class Index(Protocol):
    """See `retrieval.INDICES`; `nbytes` is the size of what is searched, in memory or mapped from a file."""

    @property
    def nbytes(self) -> int: ...

    def nearest(self, query: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]: ...


def check_index(name: str, weights: Checkpoint, config: Config) -> None:
    """Raise UserError if the index `name` cannot be had, before hours of embedding."""
    if name == "binary":
        check_codes(weights, config)
    elif name != "flat":
        approximate.import_faiss()


def check_codes(weights: Checkpoint, config: Config) -> None:
    """Raise UserError if there are no hash codes: without two class centres, or without a length."""
    count = 0 if weights.centers is None else len(weights.centers)
    if count < 2:
        raise UserError(
            f"--index=binary needs the centres of two classes at least, and {weights.path} brings {count}; "
            "take another --index"
        )
    if not config.test.hash_bits:
        raise UserError("--index=binary needs a length of codes: give --hash_bits")


def open_index(
    name: str, gallery: Gallery, weights: Checkpoint, config: Config, device: torch.device
) -> Index:
    """The index `name` of retrieval.INDICES over `gallery`, by --test_distance; made if it is not kept.

    Raises UserError if it cannot be had: without FAISS, with too few photos, or without class centres.
    """
    if name == "flat":
        return flat.build(gallery.values, config.test.test_distance, device)
    kept = (
        HashIndexFile(gallery, weights, config) if name == "binary" else FaissIndexFile(name, gallery, config)
    )
    index = kept.read()
    if index is None:
        with folder_lock(gallery.folder):
            remove_stale_temporaries(gallery.folder)
            if not (gallery.folder / gallery.state).exists():
                raise UserError(
                    f"another process has changed the index in {gallery.folder}; give the command again"
                )
            index = kept.read()  # another process may have been faster
            if index is None:
                log.info("index %s over %d photos: making it", name, len(gallery.names))
                index = kept.make()
    return index


def index_path(name: str, gallery: Gallery, config: Config) -> Path:
    """Where the index `name` is kept: for another state, distance or use of mirrors in another file."""
    return gallery.folder / f"{gallery.state}.{name}-{config.test.test_distance}-{gallery.values.shape[2]}"


class FaissIndexFile:
    """One of FAISS's indices, in a file of its own."""

    def __init__(self, name: str, gallery: Gallery, config: Config) -> None:
        self.name, self.values, self.kind, self.seed = (
            name,
            gallery.values,
            config.test.test_distance,
            config.seed,
        )
        self.path = index_path(f"{name}-seed{config.seed}", gallery, config)

    def read(self) -> Index | None:
        """None if it is not there, or, with a warning, if it is not whole."""
        if not self.path.is_file():
            return None
        try:
            verify_checksum(self.path)
            return approximate.read(self.name, self.values, self.kind, self.path)
        except (OSError, ValueError) as error:
            warn_unusable(self.path, error)
        except RuntimeError as error:  # FAISS's, of another version say
            warn_unusable(self.path, str(error).splitlines()[-1])
        return None

    def make(self) -> Index:
        with atomic_write(self.path) as temporary:
            approximate.build(self.name, self.values, self.kind, temporary, seed=self.seed)
        write_checksum(self.path)
        return approximate.read(self.name, self.values, self.kind, self.path)


class HashIndexFile:
    """Codes of the longest of --hash_bits, and the map that makes them, fitted on the class centres."""

    def __init__(self, gallery: Gallery, weights: Checkpoint, config: Config) -> None:
        check_codes(weights, config)
        assert weights.centers is not None
        self.values, self.centers, self.seed = gallery.values, weights.centers, config.seed
        self.bits, self.angular = max(config.test.hash_bits), config.test.test_distance == "angular"
        self.gradient = config.test.hash_gradient
        made_of = hashlib.sha256(self.centers.tobytes()).hexdigest()[:12]
        # codes of before there was a choice have a name without it, and another power iteration
        name = f"binary-{self.bits}-{made_of}-{self.gradient}-seed{self.seed}"
        self.path = index_path(name, gallery, config)
        self.map_path = self.path.with_name(self.path.name + ".map")

    def read(self) -> Binary | None:
        """None if they are not there, or, with a warning, if they are not whole."""
        if not self.map_path.is_file():
            return None
        try:
            verify_checksum(self.map_path)
            verify_checksum(self.path)
            code_map = self.map_of(read_array(self.map_path, (sum(map(prod, self.shapes)),), np.float32))
            words = read_array(self.path, (-(-self.bits // 64), len(self.values)), np.uint64)
        except (OSError, ValueError) as error:
            warn_unusable(self.path, error)
            return None
        return Binary(list(words), code_map, self.angular)

    def make(self) -> Binary:
        code_map, _ = fit_code_map(
            self.centers, self.bits, angular=self.angular, seed=self.seed, gradient=self.gradient
        )
        words = np.stack(packed(binary_codes(self.values, code_map, angular=self.angular)))
        parts = [part.astype(np.float32, copy=False) for part in vars(code_map).values()]
        for path, values in ((self.path, words), (self.map_path, np.concatenate([*map(np.ravel, parts)]))):
            write_array(path, values)
            write_checksum(path)
        return Binary(list(words), code_map, self.angular)

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Of the parts of the map, in their order."""
        width = self.values.shape[1]
        return [(self.bits, width), (self.bits,), (self.bits,), (width,)]

    def map_of(self, numbers: np.ndarray) -> CodeMap:
        """The map whose parts lie one after the other in `numbers`."""
        ends = np.cumsum([prod(shape) for shape in self.shapes])
        parts = np.split(np.array(numbers), ends[:-1])
        return CodeMap(*(part.reshape(shape) for part, shape in zip(parts, self.shapes, strict=True)))


def warn_unusable(path: Path, error: object) -> None:
    log.warning("warning: %s cannot be used (%s): made anew", path, error)
