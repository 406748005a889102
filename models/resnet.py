"""ResNet-18 with a domain-aware SE module after bn2 of every block (docs/method.md, Networks).

The published file cannot be built, so the design is theirs and the names are ours. This is the small network
that the demo trains on a CPU.

ImageNet weights: torchvision's IMAGENET1K_V1 (BSD-3). They were trained with input normalised by mean
(.485, .456, .406) and std (.229, .224, .225); this method feeds values in [0, 1].
"""

import torch
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights
from torchvision.models.resnet import BasicBlock, ResNet

from models.dase import Attention
from models.pooling import AveragePool

HEAD = "fc."
FIRST_ATTENTION = "layer1.0.se_module."
IMAGENET_URLS = (ResNet18_Weights.IMAGENET1K_V1.url,)
INPUT_NORMALISATION = None  # as published: values in [0, 1]


class Block(BasicBlock):
    """A basic block whose attention module gets the domain."""

    def forward(self, x: Tensor, domain: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        residual = x if self.downsample is None else self.downsample(x)
        return self.relu(self.se_module(out, domain) + residual)


class ResNet18(ResNet):
    """images (B, 3, H, W) in [0, 1], domain (B,) in {0, 1} -> features (B, f_dim)."""

    def __init__(self, attention: Attention, f_dim: int) -> None:
        super().__init__(Block, [2, 2, 2, 2])
        self.avgpool = AveragePool(7)
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(512 * 7 * 7, f_dim)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in layer:
                block.se_module = attention.build_module(block.bn2.num_features)

    def forward(self, images: Tensor, domain: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))  # (B, 64, H/4, W/4)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in layer:
                x = block(x, domain)
        return self.fc(self.dropout(torch.flatten(self.avgpool(x), 1)))  # (B, 512, H/32, W/32) -> (B, f_dim)


def build(name: str, attention: Attention, f_dim: int) -> ResNet18:
    return ResNet18(attention, f_dim)
