"""Networks: (images, domain) -> features.

Every network takes images `(B, 3, H, W)` float32 in [0, 1] and a domain bit per image `(B,)` float32
(0 = sketch, 1 = photo), and returns features `(B, f_dim)` float32. To add one, write a module with
`build(name, attention, f_dim)`, `HEAD` (prefix of the last layer, unlike that of any other module),
`FIRST_ATTENTION` (prefix of the first attention module), `IMAGENET_URLS` (or a function
`imagenet_weights(network, name)`, where a package holds them) and `INPUT_NORMALISATION` (mean and standard
deviation of the input by channel, or None: [0, 1] is fed), and name it in NETWORKS.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

NETWORKS = {
    "resnext101": "models.se_resnext",
    "alexnet": "models.alexnet",
    "resnet18": "models.resnet",
    "efficientnet_lite0": "models.efficientnet_lite",
    "efficientnet_lite1": "models.efficientnet_lite",
    "efficientnet_lite2": "models.efficientnet_lite",
}
TIMM_PREFIX, TIMM = "timm:", "models.timm_se"  # timm:NAME is a network of timm
READY = "ready"  # what --save_path and --backbone_weights call the network in models/ready
ATTENTION = ("dase", "se", "none")
SE_ACTIVATIONS = ("sigmoid", "relu")


class NetworkNames(list[str]):
    """The names that --network takes: those listed, and timm:NAME for any of timm's that has SE modules."""

    def __contains__(self, name: object) -> bool:
        listed = super().__contains__(name) and name != TIMM_LISTED
        return listed or (isinstance(name, str) and name.startswith(TIMM_PREFIX) and name != TIMM_LISTED)


TIMM_LISTED = f"{TIMM_PREFIX}NAME"
NETWORK_NAMES = NetworkNames([*sorted(NETWORKS), TIMM_LISTED])


def network_module(name: str) -> ModuleType:
    """The module of the network `name`, imported on demand: the command line needs only the names.

    pretrainedmodels draws random numbers while it is imported; a seed set before is as it was.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        return import_module(TIMM if name.startswith(TIMM_PREFIX) else NETWORKS[name])


def input_normalisation(name: str) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and standard deviation by channel that the network `name` wants; None: values in [0, 1]."""
    module = network_module(name)
    return module.input_normalisation(name) if name.startswith(TIMM_PREFIX) else module.INPUT_NORMALISATION


def build_network(
    name: str,
    *,
    attention: str,
    f_dim: int,
    reduction: int = 16,
    activation: str = "sigmoid",
    dase_layer4: bool = False,
) -> "nn.Module":
    """A freshly initialised network from NETWORKS with `f_dim` output features.

    Its attention modules are one of ATTENTION, with C/`reduction` squeezed channels and one of SE_ACTIVATIONS
    on them. `dase_layer4` is for resnext101 with "dase" alone.
    """
    from models.dase import Attention

    modules = Attention(attention, reduction, activation, dase_layer4)
    return network_module(name).build(name, modules, f_dim)
