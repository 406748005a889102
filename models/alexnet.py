"""AlexNet with batch normalisation and domain-aware SE modules (docs/method.md, Networks).

There are no ImageNet weights of this design, so it is trained from scratch. In the published file a wrong
argument turned the four modules into plain SE with r = 1, which `se` with a reduction of 1 builds. Unlike
the published network, a max-pool returns its input if that is smaller than its window, so that images of 32
pixels or more can be used (no difference at 224).
"""

import torch.nn.functional as F
from torch import Tensor, nn

from models.dase import Attention
from models.pooling import AveragePool

HEAD = "classifier.5."
FIRST_ATTENTION = "dase1."
IMAGENET_URLS: tuple[str, ...] = ()
INPUT_NORMALISATION = None  # as published: values in [0, 1]


def build_conv(inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    ]


def max_pool(x: Tensor) -> Tensor:
    return F.max_pool2d(x, kernel_size=3, stride=2) if min(x.shape[-2:]) >= 3 else x


class AlexNet(nn.Module):
    """images (B, 3, H, W) in [0, 1], domain (B,) in {0, 1} -> features (B, f_dim)."""

    def __init__(self, attention: Attention, f_dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(*build_conv(3, 64, kernel=11, stride=3, padding=5))
        self.dase1 = attention.build_module(64)
        self.conv2 = nn.Sequential(*build_conv(64, 192, kernel=5, padding=2))
        self.dase2 = attention.build_module(192)
        self.conv3 = nn.Sequential(*build_conv(192, 384, kernel=3))
        self.dase3 = attention.build_module(384)
        self.conv4 = nn.Sequential(*build_conv(384, 256, kernel=3), *build_conv(256, 256, kernel=3))
        self.dase4 = attention.build_module(256)
        self.avg_pool = AveragePool(7)
        self.classifier = nn.Sequential(
            nn.Dropout(),
            nn.Linear(256 * 7 * 7, 4096),
            nn.ReLU(inplace=True),
            nn.BatchNorm1d(4096, eps=2e-5, affine=False),
            nn.Dropout(),
            nn.Linear(4096, f_dim),
        )

    def forward(self, images: Tensor, domain: Tensor) -> Tensor:
        x = self.dase1(max_pool(self.conv1(images)), domain)  # (B, 64, 37, 37) from 224 x 224
        x = self.dase2(max_pool(self.conv2(x)), domain)  # (B, 192, 18, 18)
        x = self.dase3(max_pool(self.conv3(x)), domain)  # (B, 384, 8, 8)
        x = self.dase4(max_pool(self.conv4(x)), domain)  # (B, 256, 3, 3)
        return self.classifier(self.avg_pool(x).flatten(1))


def build(name: str, attention: Attention, f_dim: int) -> AlexNet:
    return AlexNet(attention, f_dim)
