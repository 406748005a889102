"""What is handed on: a trained network as its checkpoint has it, with or without the data of its training."""

import json
import logging

from datasets.annotations import Annotation, load_annotation
from run import checkpoint
from run.checkpoint import Checkpoint, check_lists
from run.config import NETWORK_FIELDS, Config
from run.input import input_normalisation
from run.provenance import provenance, without_folders
from utils.errors import UserError

log = logging.getLogger(__name__)


def load(config: Config, format: str) -> Checkpoint:
    """Read the checkpoint of --pretrained_model, also a published pair.

    Raises UserError if it is missing, damaged or does not fit: what is not whole is not handed on.
    """
    weights = checkpoint.load_weights(config)
    announce(weights, format)
    weights.network.eval()
    return weights


def announce(weights: Checkpoint, format: str) -> None:
    """Say what is exported."""
    log.info(
        "exporting step %d of %s, trained on %s, as %s",
        weights.step,
        weights.config.folder,
        weights.config.data.dataset,
        format,
    )


def data_at_hand(config: Config, source: Checkpoint) -> Annotation | None:
    """The data set of the training; None, with the reason logged, if it is not here or not that one."""
    try:
        data = load_annotation(
            config.data.data_path, config.data.anno_path, config.data.dataset, source.excluded
        )
        if source.lists:
            check_lists(data, source.lists, source.path)
    except UserError as error:
        log.info("the data set is not looked at: %s", error)
        return None
    return data


def about(config: Config, source: Checkpoint) -> dict[str, str]:
    """What a file is told about itself, to be read without the model card.

    Beside what is needed to use it, what it was made with, as JSON where it is no text.
    """
    names = {*NETWORK_FIELDS, "test_distance", "mirror"} - (
        {"loss_type"} if source.centers is None else set()
    )
    made = provenance(config)
    made["options"] = without_folders(made["options"])
    made["training"] = {
        "options": without_folders(source.options),
        "versions": source.versions,
        "revision": source.revision,
        "machine": source.machine,
    }
    return {
        **{name: str(config.value(name)) for name in sorted(names)},
        "input_normalisation": json.dumps(input_normalisation(config)),
        "step": str(source.step),
        **{
            name: value if isinstance(value, str) else json.dumps(value, default=str)
            for name, value in made.items()
        },
    }
