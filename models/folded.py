"""A network for one domain, its domain bit folded into biases (docs/method.md, Networks).

For images of one domain d is a constant, and a domain-aware module is a plain one with another bias:

    sigmoid(W2 * [z ; d] + b2) = sigmoid(W2[:, :-1] * z + (b2 + W2[:, -1] * d))
"""

from copy import deepcopy

import torch
from torch import Tensor, nn

from models.dase import DASEModule, DomainConv, SEModule


class OneDomain(nn.Module):
    """images (B, 3, S, S) -> features (B, f_dim), by a network without domain-aware modules."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images, None)  # None: a module that looked at the domain after all would fail


def folded(network: nn.Module, domain: int) -> nn.Module:
    """A copy of `network` for images of `domain` (0 = sketch, 1 = photo) alone, in evaluation mode.

    Takes images (B, 3, S, S), and gives the features (B, f_dim) that `network` gives them in evaluation mode,
    but for rounding. Weights are of the same type and on the same device; `network` stays as it is. Raises
    ValueError for any other domain.
    """
    if domain not in (0, 1):
        raise ValueError(f"domain must be 0 (sketch) or 1 (photo), not {domain}")
    plain = deepcopy(network)
    for parent in list(plain.modules()):
        for name, module in list(parent.named_children()):
            if isinstance(module, DASEModule):
                setattr(parent, name, without_domain(module, domain))
            elif isinstance(module, DomainConv):
                setattr(parent, name, module.without_domain(domain))
    return OneDomain(plain).eval()


@torch.no_grad()
def without_domain(module: DASEModule, domain: int) -> SEModule:
    """The plain module that does to images of `domain` what `module` does. It takes over fc1."""
    weight, bias = module.fc2.weight, module.fc2.bias  # (C, C/16 + 1, 1, 1), (C,)
    assert bias is not None
    channels, inputs = weight.shape[:2]
    plain = SEModule(channels)
    plain.phi, plain.fc1 = module.phi, module.fc1
    plain.fc2 = nn.Conv2d(inputs - 1, channels, kernel_size=1)
    plain.fc2.weight, plain.fc2.bias = (
        nn.Parameter(each) for each in (weight[:, :-1].clone(), bias + weight[:, -1, 0, 0] * domain)
    )
    return plain
