"""Indices over a gallery, in files beside its features, each with its checksum.

FAISS reads files in C++ that does not withstand damaged ones: it gets only files whose checksum fits.
"""

import hashlib
import logging
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from phases.search.gallery import Gallery
from phases.search.gallery_cache import file_state
from retrieval import approximate, flat
from retrieval.binary import BinaryIndex
from retrieval.hashing import CodeMap, binary_codes, fit_code_map
from retrieval.search import pack_bits
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

    def search(self, query: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]: ...


def check_index(name: str, checkpoint: Checkpoint, config: Config) -> None:
    """Raise UserError if the index `name` cannot be built, before hours of embedding."""
    if name == "binary":
        centers_for_codes(checkpoint, config)
    elif name != "flat":
        approximate.import_faiss()


def centers_for_codes(checkpoint: Checkpoint, config: Config) -> np.ndarray:
    """The class centres (C, f_dim) that hash codes are fitted on. Raises UserError if there are too few."""
    count = 0 if checkpoint.centers is None else len(checkpoint.centers)
    if checkpoint.centers is None or count < 2:
        raise UserError(
            f"--index=binary needs the centres of at least two classes, and {checkpoint.path} has {count}; "
            "take another --index"
        )
    if not config.test.hash_bits:
        raise UserError("--index=binary needs a length of codes: give --hash_bits")
    return checkpoint.centers


def index_path(name: str, gallery: Gallery, config: Config) -> Path:
    """The file of an index: another one for other features, another distance or without flips."""
    end = f"{name}-{config.test.test_distance}-{gallery.values.shape[2]}"
    return gallery.path.with_name(f"{gallery.path.name}.{end}")


class FaissFile:
    """An index of FAISS."""

    def __init__(self, name: str, gallery: Gallery, config: Config) -> None:
        self.name, self.values = name, gallery.values
        self.distance, self.seed = config.test.test_distance, config.seed
        self.paths = [index_path(f"{name}-seed{config.seed}", gallery, config)]

    def build(self) -> None:
        (path,) = self.paths
        with atomic_write(path) as temporary:
            approximate.write_index(self.name, self.values, self.distance, temporary, seed=self.seed)
        write_checksum(path)

    def read(self) -> Index:
        return approximate.read_index(self.name, self.values, self.distance, self.paths[0])


class CodeFiles:
    """Hash codes of the longest of --hash_bits, and the map that computes those of a query."""

    def __init__(self, gallery: Gallery, centers: np.ndarray, config: Config) -> None:
        self.values, self.centers, self.seed = gallery.values, centers, config.seed
        self.bits, self.gradient = max(config.test.hash_bits), config.test.hash_gradient
        self.angular = config.test.test_distance == "angular"
        digest = hashlib.sha256(centers.tobytes()).hexdigest()[:12]
        codes = index_path(f"binary-{self.bits}-{digest}-{self.gradient}-seed{self.seed}", gallery, config)
        self.paths = [codes, codes.with_name(f"{codes.name}.map")]

    def build(self) -> None:
        code_map, _ = fit_code_map(
            self.centers, self.bits, angular=self.angular, seed=self.seed, gradient=self.gradient
        )
        codes = pack_bits(binary_codes(self.values, code_map, angular=self.angular))
        parts = [code_map.weight.ravel(), code_map.bias, code_map.u, code_map.v]
        for path, values in zip(self.paths, (np.stack(codes), np.concatenate(parts)), strict=True):
            write_array(path, values)
            write_checksum(path)

    def read(self) -> BinaryIndex:
        bits, width = self.bits, self.values.shape[1]
        sizes = [bits * width, bits, bits, width]
        numbers = np.array(read_array(self.paths[1], (sum(sizes),), np.float32))
        weight, bias, u, v = np.split(numbers, np.cumsum(sizes)[:-1])
        codes = read_array(self.paths[0], (-(-bits // 64), len(self.values)), np.uint64)
        return BinaryIndex(list(codes), CodeMap(weight.reshape(bits, width), bias, u, v), self.angular)


def open_index(
    name: str, gallery: Gallery, checkpoint: Checkpoint, config: Config, device: torch.device
) -> Index:
    """The index `name` of retrieval.INDICES over `gallery`, by --test_distance; built if there is no file.

    Raises UserError if it cannot be built: without FAISS, with too few photos, or without class centres.
    """
    if name == "flat":
        return flat.build_index(gallery.values, config.test.test_distance, device)
    files: FaissFile | CodeFiles
    if name == "binary":
        files = CodeFiles(gallery, centers_for_codes(checkpoint, config), config)
    else:
        files = FaissFile(name, gallery, config)
    state = file_state(files.paths[-1])  # the one that is written last
    index = load(files)
    if index is None:
        folder = gallery.path.parent
        with folder_lock(folder):
            remove_stale_temporaries(folder)
            if not gallery.path.exists():
                raise UserError(f"another process has changed the index in {folder}; run the command again")
            if file_state(files.paths[-1]) != state:  # another process may have been faster
                index = load(files)
            if index is None:
                log.info("building index %s over %d photos", name, len(gallery.names))
                files.build()
                index = files.read()
    return index


def load(files: FaissFile | CodeFiles) -> Index | None:
    """The index in `files`; None if there is none, or, after a warning, if it must be rebuilt."""
    if not files.paths[-1].is_file():
        return None
    try:
        for path in files.paths:
            verify_checksum(path)
        return files.read()
    except (OSError, ValueError, RuntimeError) as error:  # the last is FAISS's
        reason = str(error).splitlines()[-1]
        log.warning("warning: %s cannot be used (%s): rebuilding it", files.paths[0], reason)
        return None
