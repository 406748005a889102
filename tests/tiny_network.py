"""A network of 10,000 weights for tests that are not about networks: its checkpoint is 0.2 MB, not 134.

Two residual blocks with attention modules, so that all that looks for blocks, attention modules and dropout
finds some. `register` makes it a choice of --network.
"""

import torch
from torch import Tensor, nn

from models import NETWORK_NAMES, NETWORKS
from models.dase import Attention
from models.pooling import AveragePool

HEAD = "head."
FIRST_ATTENTION = "blocks.0.se_module."
IMAGENET_URLS = ()
INPUT_NORMALISATION = None
NAME = "tiny"


class Block(nn.Module):
    def __init__(self, channels: int, attention: Attention) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.se_module = attention.build_module(channels)

    def forward(self, x: Tensor, domain: Tensor) -> Tensor:
        return torch.relu(self.se_module(self.bn(self.conv(x)), domain) + x)


class TinyNetwork(nn.Module):
    """images (B, 3, H, W) in [0, 1], domain (B,) in {0, 1} -> features (B, f_dim)."""

    def __init__(self, attention: Attention, f_dim: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 8, stride=8)
        self.blocks = nn.ModuleList([Block(16, attention) for _ in range(2)])
        self.avgpool = AveragePool(4)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(16 * 4 * 4, f_dim)

    def forward(self, images: Tensor, domain: Tensor) -> Tensor:
        x = torch.relu(self.stem(images))  # (B, 16, H/8, W/8)
        for block in self.blocks:
            x = block(x, domain)
        return self.head(self.dropout(torch.flatten(self.avgpool(x), 1)))  # (B, 16, 4, 4) -> (B, f_dim)


def build(name: str, attention: Attention, f_dim: int) -> TinyNetwork:
    return TinyNetwork(attention, f_dim)


def register() -> None:
    NETWORKS[NAME] = __name__
    NETWORK_NAMES.append(NAME)


def unregister() -> None:
    del NETWORKS[NAME]
    NETWORK_NAMES.remove(NAME)
