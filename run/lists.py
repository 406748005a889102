"""The lists that a phase works with: as they are, or with --skip_unreadable without what cannot be read.

What a training left out stands in its checkpoint, and is left out of all that comes after it.
"""

import logging
from collections.abc import Sequence

from datasets.annotations import Annotation, load_annotation
from datasets.readable import find_unreadable
from run.config import Config
from utils import distributed
from utils.errors import one_line

log = logging.getLogger(__name__)

MAX_LISTED = 5  # files that a message names


def load_lists(config: Config, excluded: Sequence[str] = (), *, training: bool = True) -> Annotation:
    """The lists of --dataset without the images `excluded`, and with --skip_unreadable the unreadable ones.

    For that all images are opened once, without `training` those of the test alone. Raises UserError as
    `load_annotation`, and if a category is left without images.
    """
    data = load_annotation(
        config.data.data_path, config.data.anno_path, config.data.dataset, excluded, training=training
    )
    if data.excluded:
        log.info("left out, as in the training: %s", abbreviate(data.excluded))
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
    """The first few of `names`, and how many there are if there are more."""
    shown = one_line(", ".join(names[:MAX_LISTED]))
    return shown + (f", ... ({len(names)} in all)" if len(names) > MAX_LISTED else "")
