"""--format=published: the pair of state dicts that the published program loads.

They go to a folder of their own, so that `--phase=test --save_path=<save_path>/published` tests them.
"""

import logging

import torch

from models import TIMM_PREFIX
from phases.export.source import announce
from run import checkpoint
from run.config import RUN_FIELDS, Config
from utils import checkpoint_files, checkpoints
from utils.errors import UserError
from utils.files import remove_stale_temporaries
from utils.locks import folder_lock
from utils.runs import describe_missing

log = logging.getLogger(__name__)

RUN_SETTINGS = ("test_distance", "data_path", "anno_path")


def run(config: Config, format: str) -> Config:
    """Write one of this program's checkpoints below logs/<save_path>/published/model.

    Returns the config of the checkpoint, as its training had it.
    """
    folder = config.folder
    if not checkpoint_files.saved_steps(folder / "model"):
        raise UserError(describe_missing(config.save_path))
    path = checkpoints.find(folder / "model", config.test.pretrained_model)
    weights = checkpoint.load_own(config, path)  # what is not whole is not handed on
    config = weights.config
    announce(weights, format)
    if config.network.network.startswith(TIMM_PREFIX):
        raise UserError(
            f"a published pair does not say its network, and {config.network.network} is not told by its "
            "weights alone: export it with --format=safetensors, onnx or torchscript"
        )
    target = folder / "published" / "model"
    with folder_lock(target):
        remove_stale_temporaries(target)
        for what, content in (
            (checkpoint_files.NETWORK, weights.network.state_dict()),
            (config.loss.loss_type, {"centers": torch.from_numpy(weights.centers)}),
        ):
            file = checkpoint_files.pair_path(target, what, weights.step)
            checkpoints.save(file, dict(content))
            log.info("wrote %s: %d entries", file, len(content))
    for line in unsaid(config):
        log.warning("warning: %s", line)
    stored = weights.options
    return config.with_values(**{name: stored[name] for name in (*RUN_SETTINGS, *RUN_FIELDS)})


def unsaid(config: Config) -> list[str]:
    """What the published program does otherwise than this checkpoint needs, as sentences."""
    lines = []
    published_attention = ("se", 1) if config.network.network == "alexnet" else ("dase", 16)
    network = config.network
    attention = (network.attention, network.se_reduction)
    if attention != published_attention or network.network == "resnet18":
        lines.append(
            f"the published program builds no {network.network} with --attention={network.attention} "
            f"--se_reduction={network.se_reduction}: only this program can load the pair"
        )
    if config.network.dase_layer4:
        lines.append("the published program has plain SE in layer4: only this program can load the pair")
    if config.network.se_activation != "sigmoid" or config.input.normalize:
        lines.append("the published program knows no --se_activation and no --normalize")
    return lines
