"""Fold the domain bit into biases: a network for one domain only (docs/method.md, Networks).

For images of one domain d is a constant, and a domain-aware module is a plain one with another bias:

    sigmoid(W2 * [z ; d] + b2) = sigmoid(W2[:, :-1] * z + (b2 + W2[:, -1] * d))
"""

from copy import deepcopy

import torch
from torch import Tensor, nn

from models.dase import DASEModule, DomainConv, SEModule


class SingleDomainNetwork(nn.Module):
    """images (B, 3, S, S) -> features (B, f_dim), by a network without domain-aware modules."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images, None)  # None: a module that still used the domain would fail


def fold_domain_bit(network: nn.Module, domain: int) -> nn.Module:
    """A copy of `network` for images of one `domain` (0 = sketch, 1 = photo), in evaluation mode.

    Maps images (B, 3, S, S) to the features (B, f_dim) that `network` gives in evaluation mode, but for
    rounding. Weights have the same dtype and device; `network` is not changed. Raises ValueError for any
    other domain.
    """
    if domain not in (0, 1):
        raise ValueError(f"domain must be 0 (sketch) or 1 (photo), not {domain}")
    plain = deepcopy(network)
    for parent in list(plain.modules()):
        for name, module in list(parent.named_children()):
            if isinstance(module, DASEModule):
                setattr(parent, name, fold_module(module, domain))
            elif isinstance(module, DomainConv):
                setattr(parent, name, module.fold_domain_bit(domain))
    return SingleDomainNetwork(plain).eval()


@torch.no_grad()
def fold_module(module: DASEModule, domain: int) -> SEModule:
    """A plain module with the output of `module` for images of `domain`. It takes over `module.fc1`."""
    weight, bias = module.fc2.weight, module.fc2.bias  # (C, C/16 + 1, 1, 1), (C,)
    assert bias is not None
    channels, inputs = weight.shape[:2]
    plain = SEModule(channels)
    plain.phi, plain.fc1 = module.phi, module.fc1
    plain.fc2 = nn.Conv2d(inputs - 1, channels, kernel_size=1)
    plain.fc2.weight = nn.Parameter(weight[:, :-1].clone())
    plain.fc2.bias = nn.Parameter(bias + weight[:, -1, 0, 0] * domain)
    return plain
