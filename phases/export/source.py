"""Load the checkpoint that is exported, its data set if available, and the metadata of the exported files."""

import json
import logging

from datasets.annotations import Annotation, load_annotation
from run import checkpoint
from run.checkpoint import Checkpoint, check_lists
from run.config import NETWORK_FIELDS, Config
from run.input import input_normalisation
from run.provenance import provenance, strip_folders
from utils.errors import UserError

log = logging.getLogger(__name__)


def load_source(config: Config, format: str) -> Checkpoint:
    """Read the checkpoint of --pretrained_model, which may be a published pair, in eval mode.

    Raises UserError if it is missing, damaged or does not fit.
    """
    source = checkpoint.load_without_lists(config)
    log_export(source, format)
    source.network.eval()
    return source


def log_export(source: Checkpoint, format: str) -> None:
    log.info(
        "exporting step %d of %s, trained on %s, as %s",
        source.step,
        source.config.folder,
        source.config.data.dataset,
        format,
    )


def load_data_if_available(config: Config, source: Checkpoint) -> Annotation | None:
    """The data set of the training; None, with the reason logged, if it is missing or has other lists."""
    try:
        data = load_annotation(
            config.data.data_path, config.data.anno_path, config.data.dataset, source.excluded
        )
        if source.lists:
            check_lists(data, source.lists, source.path)
    except UserError as error:
        log.info("exporting without the data set: %s", error)
        return None
    return data


def make_metadata(config: Config, source: Checkpoint) -> dict[str, str]:
    """The metadata of an exported file: how to use it and what it was made with.

    Values that are not text are JSON.
    """
    names = {*NETWORK_FIELDS, "test_distance", "mirror"}
    if source.centers is None:
        names.remove("loss_type")  # a network without its loss does not state one
    origin = provenance(config)
    origin["options"] = strip_folders(origin["options"])
    origin["training"] = {
        "options": strip_folders(source.options),
        "versions": source.versions,
        "revision": source.revision,
        "machine": source.machine,
    }
    metadata = {name: str(config.value(name)) for name in sorted(names)}
    metadata["input_normalisation"] = json.dumps(input_normalisation(config))
    metadata["step"] = str(source.step)
    for name, value in origin.items():
        metadata[name] = value if isinstance(value, str) else json.dumps(value, default=str)
    return metadata
