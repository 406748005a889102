"""--phase=export: a checkpoint in the form that another program reads (--format).

`published` writes the published program's pair of files, `onnx` and `torchscript` one plain network for each
domain, `safetensors` the weights. Neither images nor annotation lists need be there. What is written is read
back and compared before it is announced; docs/export.md has the details.
"""

import argparse
from importlib import import_module

from run.config import config_from_options
from run.next_command import announce

WRITERS = {
    "published": "phases.export.published",
    "onnx": "phases.export.per_domain",
    "torchscript": "phases.export.per_domain",
    "safetensors": "phases.export.safetensors",
}


def run(options: argparse.Namespace) -> None:
    """Write the checkpoint of --pretrained_model in the form --format, below logs/<save_path>."""
    config = import_module(WRITERS[options.format]).run(config_from_options(options), options.format)
    announce("export", config, format=options.format)
