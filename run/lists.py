"""Loads the lists of a phase, with --skip_unreadable without unreadable images.

A checkpoint stores which images its training excluded; later phases exclude them too.
"""

import logging
from collections.abc import Sequence

from datasets.annotations import Annotation, load_annotation
from datasets.readable import find_unreadable
from run.config import Config
from utils import distributed
from utils.errors import one_line

log = logging.getLogger(__name__)

MAX_LISTED = 5  # files in a message


def load_lists(config: Config, excluded: Sequence[str] = (), *, training: bool = True) -> Annotation:
    """The lists of --dataset without the images `excluded`, and with --skip_unreadable the unreadable ones.

    --skip_unreadable opens all images once; without `training`, only those of the test. Raises UserError as
    `load_annotation` does, and if a category has no images left.
    """
    data = load_annotation(
        config.data.data_path, config.data.anno_path, config.data.dataset, excluded, training=training
    )
    if data.excluded:
        log.info("excluded, as in the training: %s", abbreviate(data.excluded))
    if not config.data.skip_unreadable:
        return data
    entries = [*data.test_sketches, *data.gallery]
    if training:
        entries += [*data.train_sketches, *data.train_photos]
    names = sorted({name for name, _ in entries})
    first = distributed.rank() == 0
    unreadable = find_unreadable(data.root, names, workers=config.data.num_workers) if first else []
    unreadable = distributed.broadcast_object(unreadable)
    if unreadable and first:
        log.warning(
            "warning: %d images cannot be read and are left out: %s", len(unreadable), abbreviate(unreadable)
        )
    return data.without(unreadable)


def abbreviate(names: Sequence[str]) -> str:
    """The first MAX_LISTED of `names` as text, and their number if there are more."""
    shown = one_line(", ".join(names[:MAX_LISTED]))
    return shown + (f", ... ({len(names)} in all)" if len(names) > MAX_LISTED else "")
