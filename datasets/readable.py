"""Find unreadable images by opening all of them once."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from datasets.images import UnreadableImage, read_image
from utils.errors import one_line

log = logging.getLogger(__name__)


def find_unreadable(root: Path, names: Sequence[str], *, workers: int) -> list[str]:
    """Open every one of the images `names` below `root`, log those that fail, and return them in order."""
    with ThreadPoolExecutor(max(1, workers)) as pool:  # decoding releases the interpreter's lock
        reasons = list(
            tqdm(
                pool.map(lambda name: reason_unreadable(root / name), names),
                total=len(names),
                unit="image",
                desc="opening every image",
                dynamic_ncols=True,
            )
        )
    unreadable = {name: reason for name, reason in zip(names, reasons, strict=True) if reason is not None}
    for name, reason in unreadable.items():
        log.warning("unreadable: %s (%s)", one_line(str(root / name)), one_line(reason))
    log.info("unreadable images: %d of %d", len(unreadable), len(names))
    return list(unreadable)


def reason_unreadable(path: Path) -> str | None:
    """Why the image is unreadable; None if it is not."""
    try:
        read_image(path, "RGB")
    except UnreadableImage as error:
        return error.reason
    return None
