"""Networks: (images, domain) -> features.

Every network takes images `(B, 3, H, W)` float32 in [0, 1] and a domain bit per image `(B,)` float32
(0 = sketch, 1 = photo), and returns features `(B, f_dim)` float32.

To add one, write a module and name it in NETWORKS. The module needs
- `build(name, attention, f_dim)`
- `HEAD`: prefix of the last layer in the state dict, different from that of any other module
- `FIRST_ATTENTION`: prefix of the first attention module
- `IMAGENET_URLS`, or a function `load_imagenet_weights(network, name)` if a package holds the weights
- `INPUT_NORMALISATION`: mean and standard deviation of the input by channel, or None for values in [0, 1].
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
READY = "ready"  # the name of the network in models/ready, for --save_path and --backbone_weights
ATTENTION = ("dase", "se", "none")
SE_ACTIVATIONS = ("sigmoid", "relu")


class NetworkNames(list[str]):
    """The names that --network takes: those listed, and timm:NAME for any network of timm with SE modules."""

    def __contains__(self, name: object) -> bool:
        if name == TIMM_PLACEHOLDER:
            return False
        return super().__contains__(name) or (isinstance(name, str) and name.startswith(TIMM_PREFIX))


TIMM_PLACEHOLDER = f"{TIMM_PREFIX}NAME"  # shown in the list of names, but not a network
NETWORK_NAMES = NetworkNames([*sorted(NETWORKS), TIMM_PLACEHOLDER])


def network_module(name: str) -> ModuleType:
    """The module of the network `name`, imported on demand: the command line needs only the names.

    The random state is restored afterwards, because pretrainedmodels draws random numbers at import.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        return import_module(TIMM if name.startswith(TIMM_PREFIX) else NETWORKS[name])


def input_normalisation(name: str) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and standard deviation by channel of the input of the network `name`; None: values in [0, 1]."""
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
    """A newly initialised network, one of NETWORK_NAMES, with `f_dim` output features.

    `attention` is one of ATTENTION and `activation` one of SE_ACTIVATIONS; modules squeeze C channels to
    C/`reduction`. `dase_layer4` is only for resnext101 with "dase".
    """
    from models.dase import Attention

    modules = Attention(attention, reduction, activation, dase_layer4)
    return network_module(name).build(name, modules, f_dim)
