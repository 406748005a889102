"""What is handed on: a trained network as its checkpoint has it, with or without the data of its training."""

import argparse
import json
import logging

from datasets.annotations import Annotation, load_annotation
from phases import settings, trained
from phases.provenance import provenance, without_folders
from phases.trained import Weights
from utils.errors import UserError

log = logging.getLogger(__name__)


def load(options: argparse.Namespace) -> Weights:
    """Read the checkpoint of --pretrained_model, also a published pair, and complete `options`.

    Raises UserError if it is missing, damaged or does not fit: what is not whole is not handed on.
    """
    weights = trained.load_weights(options)
    announce(options, weights)
    weights.network.eval()
    return weights


def announce(options: argparse.Namespace, weights: Weights) -> None:
    """Say what is exported."""
    log.info(
        "exporting step %d of %s, trained on %s, as %s",
        weights.step,
        settings.run_folder(options),
        options.dataset,
        options.format,
    )


def data_at_hand(options: argparse.Namespace, source: Weights) -> Annotation | None:
    """The data set of the training; None, with the reason logged, if it is not here or not that one."""
    try:
        data = load_annotation(options.data_path, options.anno_path, options.dataset, source.left_out)
        if source.lists:
            settings.check_lists(data, source.lists, source.path)
    except UserError as error:
        log.info("the data set is not looked at: %s", error)
        return None
    return data


def about(options: argparse.Namespace, source: Weights) -> dict[str, str]:
    """What a file is told about itself, to be read without the model card.

    Beside what is needed to use it, what it was made with, as JSON where it is no text.
    """
    names = {*settings.NETWORK_OPTIONS, "test_distance", "mirror"} - (
        {"loss_type"} if source.centers is None else set()
    )
    made = provenance(options)
    made["options"] = without_folders(made["options"])
    made["training"] = {
        "options": without_folders(source.options),
        "versions": source.versions,
        "revision": source.revision,
        "machine": source.machine,
    }
    return {
        **{name: str(getattr(options, name)) for name in sorted(names)},
        "input_normalisation": json.dumps(settings.input_normalisation(options)),
        "step": str(source.step),
        **{
            name: value if isinstance(value, str) else json.dumps(value, default=str)
            for name, value in made.items()
        },
    }
