"""--phase=export: write a checkpoint in another format (--format).

`published` writes the published program's pair of files, `onnx` and `torchscript` one plain network for each
domain, `safetensors` the weights. Neither images nor annotation lists are needed. The last three read their
files back and compare them before the files get their names; docs/export.md has the details.
"""

import argparse
from importlib import import_module

from run.config import config_from_options
from run.next_command import log_next_command

WRITERS = {
    "published": "phases.export.published",
    "onnx": "phases.export.per_domain",
    "torchscript": "phases.export.per_domain",
    "safetensors": "phases.export.safetensors",
}


def run(options: argparse.Namespace) -> None:
    """Write the checkpoint of --pretrained_model in the format --format, below logs/<save_path>."""
    config = import_module(WRITERS[options.format]).run(config_from_options(options), options.format)
    log_next_command("export", config, format=options.format)
