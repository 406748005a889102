"""Files of features: (2, N, f_dim) float32, as is and mirrored, that are used only if they are whole.

They are looked through first, at the 1.8 GB/s of SHA-256: half a second for TU-Berlin's gallery.
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

BLOCK_SIZE = 1 << 18  # numbers looked through at a time: they stay in the cache


def load_cached_features(
    paths: dict[str, Path],
    key: Path,
    fingerprint: dict[str, Any],
    data: Annotation,
    config: Config,
) -> dict[str, np.ndarray] | None:
    """The kept features if their fingerprint is `fingerprint`, else None, with the reason logged."""
    if not key.is_file():
        return None
    try:
        kept = read_json(key)
        changed = sorted(name for name in fingerprint if kept.get(name) != fingerprint[name])
        if changed:
            log.info("features in %s are of other %s: computed anew", key.parent, ", ".join(changed))
            return None
        values = {}
        for name, entries in (("sketch", data.test_sketches), ("photo", data.gallery)):
            values[name] = map_features(paths[name], len(entries), config.network.f_dim)
            verify_features(values[name], kept["sha256"][name], [path for path, _ in entries], paths[name])
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        log.info("features in %s cannot be used (%s): computed anew", key.parent, describe_error(error))
        return None
    log.info("features taken from %s", key.parent)
    return values


def describe_error(error: Exception) -> str:
    """What is wrong with a kept file, of an error that reading it raised."""
    wrong_form = isinstance(error, (AttributeError, KeyError, TypeError))
    return f"it is not of the form that is written here: {error}" if wrong_form else str(error)


def map_features(path: Path, count: int, width: int) -> np.ndarray:
    """The features (count, width, 2) in the file at `path`, read when they are looked at.

    Raises ValueError if the file is not of that form.
    """
    return read_array(path, (2, count, width), np.float32).transpose(1, 2, 0)


def verify_features(values: np.ndarray, digest: str, names: list[str], path: Path) -> None:
    """Raise ValueError unless `values` (N, f_dim, 2), of the images `names`, are those written to `path`.

    Their file must have the SHA-256 `digest`, and all of them must be finite.
    """
    planes = values.transpose(2, 0, 1)
    found = hashlib.sha256(header(planes.shape, planes.dtype))
    numbers = planes.reshape(-1)  # as they lie in the file: no copy
    for first in range(0, len(numbers), BLOCK_SIZE):
        block = numbers[first : first + BLOCK_SIZE]
        found.update(block.data)
        if not np.isfinite(block).all():
            row = (first + int(np.argmin(np.isfinite(block)))) // planes.shape[2] % planes.shape[1]
            raise ValueError(f"{path.name} has features of {names[row]} that are not finite")
    if found.hexdigest() != digest:
        raise ValueError(f"{path.name} is not as it was written: its checksum is another")


def create_feature_file(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """A new file of float32 numbers, mapped into memory. Raises UserError if the disk has no room for it."""
    try:
        return new_array(path, shape, np.float32)
    except OSError as error:
        if error.errno not in DISK_FULL_ERRORS:
            raise
        raise UserError(
            f"cannot write {4 * math.prod(shape) / 2**20:.1f} MiB of features to {path.parent}: "
            f"{error.strerror}; make room there"
        ) from None
