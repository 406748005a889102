"""The network that a config describes."""

from torch import nn

from models import build_network, network_module
from run.config import NetworkConfig
from utils.errors import UserError


def build(config: NetworkConfig) -> nn.Module:
    """A freshly initialised network."""
    return build_network(
        config.network,
        attention=config.attention,
        f_dim=config.f_dim,
        reduction=config.se_reduction,
        activation=config.se_activation,
        dase_layer4=config.dase_layer4,
    )


def find_blocks(network: nn.Module, name: str) -> list[nn.Module]:
    """The residual blocks of a network, for gradient checkpointing. Raises UserError if it has none."""
    block = getattr(network_module(name), "Block", None)
    if block is None:
        raise UserError(f"--gradient_checkpointing has no meaning for --network={name}: it has no blocks")
    return [module for module in network.modules() if isinstance(module, block)]
