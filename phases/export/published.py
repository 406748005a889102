"""--format=published: write the pair of state dicts that the published program loads.

They go to the folder of a run, so that `--phase=test --save_path=<save_path>/published` tests them.
"""

import logging

import torch

from models import TIMM_PREFIX
from phases.export.source import log_export
from run import checkpoint
from run.config import RUN_FIELDS, Config
from utils import checkpoint_files, checkpoints
from utils.errors import UserError
from utils.files import remove_stale_temporaries
from utils.locks import folder_lock
from utils.runs import describe_missing

log = logging.getLogger(__name__)

TEST_SETTINGS = ("test_distance", "data_path", "anno_path")  # that the test of the pair needs again


def run(config: Config, format: str) -> Config:
    """Write one of this program's checkpoints below logs/<save_path>/published/model.

    Returns the config of the checkpoint, with the settings of its training.
    """
    folder = config.folder
    if not checkpoint_files.saved_steps(folder / "model"):
        raise UserError(describe_missing(config.save_path))
    path = checkpoints.find(folder / "model", config.test.pretrained_model)
    source = checkpoint.load_own(config, path)
    config = source.config
    log_export(source, format)
    if config.network.network.startswith(TIMM_PREFIX):
        raise UserError(
            f"a published pair does not state its network, and {config.network.network} cannot be recognised "
            "from its weights: export it with --format=safetensors, onnx or torchscript"
        )
    target = folder / "published" / "model"
    with folder_lock(target):
        remove_stale_temporaries(target)
        for name, state in (
            (checkpoint_files.NETWORK, source.network.state_dict()),
            (config.loss.loss_type, {"centers": torch.from_numpy(source.centers)}),
        ):
            file = checkpoint_files.pair_path(target, name, source.step)
            checkpoints.save(file, dict(state))
            log.info("wrote %s: %d entries", file, len(state))
    for line in list_incompatibilities(config):
        log.warning("warning: %s", line)
    return config.with_values(**{name: source.options[name] for name in (*TEST_SETTINGS, *RUN_FIELDS)})


def list_incompatibilities(config: Config) -> list[str]:
    """Sentences on what the published program lacks to use this checkpoint."""
    lines = []
    network = config.network
    published_attention = ("se", 1) if network.network == "alexnet" else ("dase", 16)
    attention = (network.attention, network.se_reduction)
    if attention != published_attention or network.network == "resnet18":
        lines.append(
            f"the published program builds no {network.network} with --attention={network.attention} "
            f"--se_reduction={network.se_reduction}: only this program can load the pair"
        )
    if network.dase_layer4:
        lines.append("the published program has plain SE in layer4: only this program can load the pair")
    if network.se_activation != "sigmoid" or config.input.normalize:
        lines.append("the published program knows no --se_activation and no --normalize")
    return lines
