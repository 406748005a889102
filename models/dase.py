"""Squeeze-and-excitation with and without the domain bit (docs/method.md, Networks).

    z = phi(W1 * GAP(x) + b1)          (B, C/16)
    g = sigmoid(W2 * [z ; d] + b2)     (B, C)
    out = g * x

As in the published program phi is a sigmoid by default, not the ReLU of the SE paper (arXiv 1709.01507), in
both modules. `W2[:, -1] * d` is a learned offset of the gate's logits for photos: the only difference between
the domains.
"""

import threading
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

REDUCTION = 16
ACTIVATIONS = {"sigmoid": torch.sigmoid, "relu": torch.relu}


class SEModule(nn.Module):
    """Gate the channels of `x` (B, C, H, W) by their averages; `domain` (B,) is ignored."""

    domain_inputs = 0

    def __init__(
        self, channels: int, reduction: int = REDUCTION, activation: str = "sigmoid", min_squeezed: int = 1
    ) -> None:
        super().__init__()
        squeezed = max(min_squeezed, channels // reduction)
        self.phi = ACTIVATIONS[activation]
        # 1x1 convolutions rather than linear layers: the state-dict shapes of pretrained SE networks
        self.fc1 = nn.Conv2d(channels, squeezed, kernel_size=1)
        self.fc2 = nn.Conv2d(squeezed + self.domain_inputs, channels, kernel_size=1)

    def squeeze(self, x: Tensor) -> Tensor:
        return self.phi(self.fc1(x.mean(dim=(2, 3), keepdim=True)))  # (B, C/16, 1, 1)

    def forward(self, x: Tensor, domain: Tensor) -> Tensor:
        return x * torch.sigmoid(self.fc2(self.squeeze(x)))


class DASEModule(SEModule):
    """Gate the channels of `x` (B, C, H, W) by their averages and by the domain bit `domain` (B,)."""

    domain_inputs = 1
    gate = staticmethod(torch.sigmoid)

    def forward(self, x: Tensor, domain: Tensor) -> Tensor:
        bit = domain.to(x.dtype).view(-1, 1, 1, 1)
        return x * torch.sigmoid(self.fc2(torch.cat([self.squeeze(x), bit], dim=1)))


class DomainBit(threading.local):
    """The domain (B,) of the images in the current forward pass of this thread."""

    value: Tensor | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> "DomainBit":
        return DomainBit()

    def __reduce__(self) -> tuple[type, tuple]:
        return DomainBit, ()


class DomainConv(nn.Conv2d):
    """The last convolution of an SE module with a column for the domain bit: (B, S, 1, 1) -> (B, C, 1, 1)."""

    def __init__(self, plain: nn.Conv2d, bit: DomainBit, gate: nn.Module) -> None:
        super().__init__(plain.in_channels + 1, plain.out_channels, 1, bias=plain.bias is not None)
        self.bit = bit
        self.gate = gate
        with torch.no_grad():
            self.weight.zero_()[:, :-1].copy_(plain.weight)
            if self.bias is not None:
                assert plain.bias is not None
                self.bias.copy_(plain.bias)

    @property
    def fc2(self) -> nn.Conv2d:
        """The layer with the domain column, by the name that it has in DASEModule."""
        return self

    def forward(self, squeezed: Tensor) -> Tensor:
        assert self.bit.value is not None, "the network sets the domain before each pass"
        domain = self.bit.value.to(squeezed.dtype).view(-1, 1, 1, 1)
        return super().forward(torch.cat([squeezed, domain], dim=1))

    @torch.no_grad()
    def fold_domain_bit(self, domain: int) -> nn.Conv2d:
        """A plain convolution that gives the same output for images of `domain`."""
        weight = self.weight
        plain = nn.Conv2d(self.in_channels - 1, self.out_channels, 1)
        offset = weight[:, -1, 0, 0] * domain
        plain.weight = nn.Parameter(weight[:, :-1].clone())
        plain.bias = nn.Parameter(offset.clone() if self.bias is None else self.bias + offset)
        return plain


class NoAttention(nn.Module):
    """The ablation without modules: returns `x`, has no parameters."""

    def forward(self, x: Tensor, domain: Tensor) -> Tensor:
        return x


@dataclass(frozen=True)
class Attention:
    """Which modules a network gets: `kind` is dase, se or none; they squeeze C channels to C/`reduction`.

    `activation` is phi, one of ACTIVATIONS. `dase_layer4`: SE-ResNeXt-101 has domain-aware modules in layer4,
    too, where they are plain SE otherwise.
    """

    kind: str
    reduction: int = REDUCTION
    activation: str = "sigmoid"
    dase_layer4: bool = False

    def build_module(self, channels: int, min_squeezed: int = 1) -> nn.Module:
        """A new module for `channels` channels, which are squeezed to `min_squeezed` or more."""
        if self.kind == "none":
            return NoAttention()
        module_class = {"dase": DASEModule, "se": SEModule}[self.kind]
        return module_class(channels, self.reduction, self.activation, min_squeezed)
