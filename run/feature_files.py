"""Files of features: (2, N, f_dim) float32, of the images and of their mirror images.

Their SHA-256 is checked before use, at 1.8 GB/s: half a second for TU-Berlin's gallery.
"""

import errno
import hashlib
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np

from datasets.annotations import Annotation
from run.config import Config
from utils.arrays import header, new_array, read_array
from utils.errors import UserError
from utils.files import read_json

log = logging.getLogger(__name__)

DISK_FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

BLOCK_SIZE = 1 << 18  # numbers checked at a time, few enough to stay in the CPU cache


def load_cached_features(
    paths: dict[str, Path],
    key: Path,
    fingerprint: dict[str, Any],
    data: Annotation,
    config: Config,
) -> dict[str, np.ndarray] | None:
    """The cached features if they have this `fingerprint`; else None, with the reason logged."""
    if not key.is_file():
        return None
    try:
        stored = read_json(key)
        changed = sorted(name for name in fingerprint if stored.get(name) != fingerprint[name])
        if changed:
            log.info("features in %s are from other %s: recomputing them", key.parent, ", ".join(changed))
            return None
        values = {}
        for name, entries in (("sketch", data.test_sketches), ("photo", data.gallery)):
            values[name] = map_features(paths[name], len(entries), config.network.f_dim)
            verify_features(values[name], stored["sha256"][name], [path for path, _ in entries], paths[name])
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        log.info("features in %s cannot be used (%s): recomputing them", key.parent, describe_error(error))
        return None
    log.info("features loaded from %s", key.parent)
    return values


def describe_error(error: Exception) -> str:
    """What is wrong with a cached file, given the error that reading it raised."""
    is_wrong_format = isinstance(error, (AttributeError, KeyError, TypeError))
    return f"its format is wrong: {error}" if is_wrong_format else str(error)


def map_features(path: Path, count: int, width: int) -> np.ndarray:
    """Memory-map the features (count, width, 2) in the file at `path`.

    Raises ValueError if the file has another format.
    """
    return read_array(path, (2, count, width), np.float32).transpose(1, 2, 0)


def verify_features(values: np.ndarray, digest: str, names: list[str], path: Path) -> None:
    """Raise ValueError unless the file `path` has the SHA-256 `digest` and all its `values` are finite.

    `values` is (N, f_dim, 2), of the images `names`.
    """
    by_mirror = values.transpose(2, 0, 1)
    file_digest = hashlib.sha256(header(by_mirror.shape, by_mirror.dtype))
    numbers = by_mirror.reshape(-1)  # in the order of the file, so this is no copy
    for first in range(0, len(numbers), BLOCK_SIZE):
        block = numbers[first : first + BLOCK_SIZE]
        file_digest.update(block.data)
        if not np.isfinite(block).all():
            row = (first + int(np.argmin(np.isfinite(block)))) // by_mirror.shape[2] % by_mirror.shape[1]
            raise ValueError(f"{path.name} has features of {names[row]} that are not finite")
    if file_digest.hexdigest() != digest:
        raise ValueError(f"{path.name} does not match its checksum")


def create_feature_file(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """Create a memory-mapped file of float32. Raises UserError if the disk is too full for it."""
    try:
        return new_array(path, shape, np.float32)
    except OSError as error:
        if error.errno not in DISK_FULL_ERRORS:
            raise
        raise UserError(
            f"cannot write {4 * math.prod(shape) / 2**20:.1f} MiB of features to {path.parent}: "
            f"{error.strerror}; make room there"
        ) from None
