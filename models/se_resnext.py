"""SE-ResNeXt-101 32x4d with domain-aware SE modules (docs/method.md, Networks).

The network is `pretrainedmodels`' with its SE modules replaced: domain-aware ones in layer1 to layer3
(30 blocks), plain ones in layer4, as in the published program. The paper's figure has a domain-aware module
in each block, which `dase_layer4` builds. The published program differs from `pretrainedmodels` in two
ways: the first activation of every SE module is a sigmoid (by default), and `last_linear` has f_dim outputs.
Unlike the published network, ours ends with adaptive pooling, so that images of 32 pixels or more can be used
(no difference at 224).

ImageNet weights: Cadene's pretrained-models.pytorch 0.7.4 (BSD-3), ported from the Caffe weights of
Hu et al. (SENet, Apache-2.0); timm's release has the same tensors. They were trained with input normalised
by mean (.485, .456, .406) and std (.229, .224, .225); this method feeds values in [0, 1].
"""

from dataclasses import replace

from pretrainedmodels.models.senet import SENet, SEResNeXtBottleneck, pretrained_settings
from torch import Tensor, nn

from models.dase import Attention

HEAD = "last_linear."
FIRST_ATTENTION = "layer1.0.se_module."
LAYER4_ATTENTION = "layer4.0.se_module."
IMAGENET_URLS = (
    "https://github.com/huggingface/pytorch-image-models/releases/download/v0.1-weights/"
    "legacy_se_resnext101_32x4d-37725eac.pth",
    pretrained_settings["se_resnext101_32x4d"]["imagenet"]["url"],
)
INPUT_NORMALISATION = None  # as published: values in [0, 1]


class Block(SEResNeXtBottleneck):
    """A ResNeXt bottleneck whose attention module gets the domain."""

    def forward(self, x: Tensor, domain: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        residual = x if self.downsample is None else self.downsample(x)
        return self.relu(self.se_module(out, domain) + residual)


class SEResNeXt(SENet):
    """images (B, 3, H, W) in [0, 1], domain (B,) in {0, 1} -> features (B, f_dim)."""

    def __init__(self, attention: Attention, f_dim: int) -> None:
        super().__init__(
            Block,
            layers=[3, 4, 23, 3],
            groups=32,
            reduction=16,
            dropout_p=None,
            inplanes=64,
            input_3x3=False,
            downsample_kernel_size=1,
            downsample_padding=0,
            num_classes=f_dim,
        )
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            if layer is self.layer4 and attention.kind == "dase" and not attention.dase_layer4:
                attention = replace(attention, kind="se")
            for block in layer:
                block.se_module = attention.build_module(block.bn3.num_features)

    def forward(self, images: Tensor, domain: Tensor) -> Tensor:
        x = self.layer0(images)  # (B, 64, H/4, W/4)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in layer:
                x = block(x, domain)
        return self.last_linear(self.avg_pool(x).flatten(1))  # (B, 2048, H/32, W/32) -> (B, f_dim)


def build(name: str, attention: Attention, f_dim: int) -> SEResNeXt:
    return SEResNeXt(attention, f_dim)
