"""Indices over a gallery, kept in files beside its features."""

import argparse
import hashlib
import logging
import zipfile
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from phases.gallery import Gallery
from phases.trained import Weights
from retrieval import approximate, flat
from retrieval.binary import Binary
from retrieval.hashing import CodeMap, binary_codes, fit_code_map
from retrieval.search import packed
from utils.errors import UserError
from utils.files import replacing

log = logging.getLogger(__name__)


class Index(Protocol):
    """See `retrieval.INDICES`; `nbytes` is the size of what is searched, in memory or mapped from a file."""

    @property
    def nbytes(self) -> int: ...

    def nearest(self, query: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]: ...


def open_index(
    name: str, gallery: Gallery, weights: Weights, options: argparse.Namespace, device: torch.device
) -> Index:
    """The index `name` of retrieval.INDICES over `gallery`, by --test_distance; made if it is not kept.

    Raises UserError if it cannot be had: without FAISS, with too few photos, or without class centres.
    """
    if name == "flat":
        return flat.build(gallery.values, options.test_distance, device)
    return (
        open_binary(gallery, weights, options)
        if name == "binary"
        else open_approximate(name, gallery, options)
    )


def file_of(name: str, gallery: Gallery, options: argparse.Namespace) -> Path:
    """Where the index `name` is kept: for another state, distance or use of mirrors in another file."""
    return gallery.folder / f"{gallery.state}.{name}-{options.test_distance}-{gallery.values.shape[2]}"


def open_approximate(name: str, gallery: Gallery, options: argparse.Namespace) -> Index:
    path, kind = file_of(name, gallery, options), options.test_distance
    if path.is_file():
        try:
            return approximate.read(name, gallery.values, kind, path)
        except RuntimeError as error:  # FAISS's, on damaged files
            log.warning("warning: %s cannot be read (%s): made anew", path, str(error).splitlines()[-1])
    log.info("index %s over %d photos: making it", name, len(gallery.names))
    with replacing(path) as temporary:
        approximate.build(name, gallery.values, kind, temporary, seed=options.seed)
    return approximate.read(name, gallery.values, kind, path)


def open_binary(gallery: Gallery, weights: Weights, options: argparse.Namespace) -> Binary:
    """Codes of the longest of --hash_bits; the map that makes them is fitted on the class centres, once."""
    if weights.centers is None or len(weights.centers) < 2:
        raise UserError(
            f"--index=binary needs the centres of two classes at least, and {weights.path} brings "
            f"{0 if weights.centers is None else len(weights.centers)}; take another --index"
        )
    if not options.hash_bits:
        raise UserError("--index=binary needs a length of codes: give --hash_bits")
    bits, angular = max(options.hash_bits), options.test_distance == "angular"
    made_of = hashlib.sha256(weights.centers.tobytes() + bytes(f"{options.seed}", "ascii")).hexdigest()[:12]
    path = file_of(f"binary-{bits}-{made_of}", gallery, options)
    map_path = path.with_name(path.name + ".npz")
    try:
        with np.load(map_path, allow_pickle=False) as arrays:
            code_map = CodeMap(**{name: arrays[name] for name in ("weight", "bias", "u", "v")})
        words = np.load(path, mmap_mode="r", allow_pickle=False)
        if words.shape == (-(-bits // 64), len(gallery.names)):
            return Binary(list(words), code_map, angular)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        log.warning("warning: %s cannot be read (%s): made anew", path, error)
    log.info("index binary over %d photos, %d bits: making it", len(gallery.names), bits)
    code_map, _ = fit_code_map(weights.centers, bits, angular=angular, seed=options.seed)
    words = np.stack(packed(binary_codes(gallery.values, code_map, angular=angular)))
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, words)
    with replacing(map_path) as temporary, temporary.open("wb") as file:
        np.savez(file, **vars(code_map))
    return Binary(list(words), code_map, angular)
