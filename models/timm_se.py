"""Any network of timm that has SE modules, with the domain bit in each of them: `--network=timm:NAME`.

The domain bit enters where it does in `models.dase`: as one more input of the module's last convolution,

    g = gate(W2 * [z ; d] + b2)

whatever the module's own gate, activation and number of squeezed channels are. The new column of W2 starts at
zero, so that a pretrained network computes at first what it did, for both domains. Its averaged features go
through a linear layer of f_dim outputs.

timm's blocks pass on images only, so the modules do not get the bit as an argument: the network sets it
before each pass, per thread.
"""

import difflib
import sys
from typing import Any

import timm
import torch
from timm.models import get_pretrained_cfg
from torch import Tensor, nn

from models.dase import Attention, DomainBit, DomainConv
from utils.errors import UserError

PREFIX = "timm:"
HEAD = "timm_features."
IMAGENET_URLS: tuple[str, ...] = ()  # timm downloads them itself
BACKBONE = "backbone."
EXCITE_NAMES = ("fc2", "conv_expand", "fc")  # what timm's SE modules call their last convolution
SUGGESTIONS = (
    "seresnet50",
    "efficientnet_b0",
    "mobilenetv3_large_100",
    "regnety_008",
    "legacy_seresnext50_32x4d",
)


class TimmSE(nn.Module):
    """images (B, 3, H, W), domain (B,) in {0, 1} -> features (B, f_dim)."""

    def __init__(self, name: str, attention: Attention, f_dim: int) -> None:
        super().__init__()
        self.backbone = create_timm_network(name)
        self.timm_features = nn.Linear(self.backbone.head_hidden_size, f_dim)
        self.bit = DomainBit()
        modules = find_se_modules(self.backbone)
        if not modules:
            raise UserError(
                f"--network={PREFIX}{name} has no SE modules, which take the domain bit; networks that "
                f"have them are {', '.join(PREFIX + other for other in SUGGESTIONS)}"
            )
        for path, module in modules.items():
            if attention.kind == "none":
                parent, _, child = path.rpartition(".")
                setattr(self.backbone.get_submodule(parent), child, nn.Identity())
            elif attention.kind == "dase":
                excite = str(find_excite_name(module))
                plain = getattr(module, excite)
                setattr(module, excite, DomainConv(plain, self.bit, find_gate(module)))

    def forward(self, images: Tensor, domain: Tensor | None) -> Tensor:
        self.bit.value = domain
        try:
            return self.timm_features(self.backbone(images))
        finally:
            self.bit.value = None


def find_excite_name(module: nn.Module) -> str | None:
    """The name of the last convolution of an SE module; None for any other module."""
    children = dict(module.named_children())
    if not any(name == "gate" or isinstance(child, nn.Sigmoid) for name, child in children.items()):
        return None
    for name in EXCITE_NAMES:
        last = children.get(name)
        if isinstance(last, nn.Conv2d) and last.kernel_size == (1, 1):
            return name
    return None


def find_gate(module: nn.Module) -> nn.Module:
    """The activation of the gates of an SE module, which follows its last convolution."""
    children = dict(module.named_children())
    return children["gate"] if "gate" in children else children["sigmoid"]


def find_se_modules(network: nn.Module) -> dict[str, nn.Module]:
    """The SE modules of a network of timm by name, in order of depth."""
    return {name: module for name, module in network.named_modules() if find_excite_name(module)}


def create_timm_network(name: str, **options: Any) -> Any:
    """timm's network without its classifier, which returns averaged features. Raises UserError if unknown."""
    if not timm.is_model(name):
        similar = difflib.get_close_matches(name, timm.list_models(), n=3) or list(SUGGESTIONS)
        raise UserError(
            f"timm {timm.__version__} has no network {name}; do you mean "
            f"{' or '.join(PREFIX + other for other in similar)}?"
        )
    return timm.create_model(name, num_classes=0, **{"pretrained": False, **options})


def build(name: str, attention: Attention, f_dim: int) -> TimmSE:
    return TimmSE(name.removeprefix(PREFIX), attention, f_dim)


def input_normalisation(name: str) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and standard deviation that timm's weights of this network were trained with."""
    config = get_pretrained_cfg(name.removeprefix(PREFIX), allow_unregistered=True)
    return (tuple(config.mean), tuple(config.std)) if config else None


def has_imagenet_weights(name: str) -> bool:
    """Whether timm can download weights of this network."""
    config = get_pretrained_cfg(name.removeprefix(PREFIX), allow_unregistered=True)
    return bool(config and config.has_weights)


def load_imagenet_weights(network: nn.Module, name: str) -> dict[str, Tensor]:
    """timm's weights, downloaded, under the names of `network`. Raises UserError if that fails."""
    try:
        plain = create_timm_network(name.removeprefix(PREFIX), pretrained=True)
    except UserError:
        raise  # timm has no such network
    except Exception as error:  # each client of the hub has errors of its own
        raise UserError(
            f"no ImageNet weights of {name} could be downloaded ({summarise_error(error)}); download a "
            "file on another machine and pass it as --backbone_weights=FILE, or start at random with "
            "--backbone_weights=none"
        ) from error
    return rename_weights(network, plain, plain.state_dict())


def convert_weights(network: nn.Module, name: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights from a file under the names of `network`: timm's, as timm's own loader takes them, or ours.

    Missing entries and other shapes are not checked here: `models.weights.load_backbone` refuses them, where
    timm may only warn.
    """
    if any(key.startswith(BACKBONE) for key in state):
        return state
    plain = create_timm_network(name.removeprefix(PREFIX))
    convert = getattr(sys.modules[type(plain).__module__], "checkpoint_filter_fn", None)
    try:
        state = convert(state, plain) if convert else state
    except Exception as error:  # timm's converters do not check the file
        raise UserError(f"the weights are not those of {name}: {summarise_error(error)}") from error
    return rename_weights(network, plain, state)


def rename_weights(network: nn.Module, plain: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """timm's weights under the names of `network`, with zero domain columns and only what it has."""
    target = network.state_dict()
    classifiers = getattr(plain, "pretrained_cfg", {}).get("classifier") or ()
    classifiers = (classifiers,) if isinstance(classifiers, str) else tuple(classifiers)
    removed = [
        path
        for path in find_se_modules(plain)
        if not any(key.startswith(f"{BACKBONE}{path}.") for key in target)
    ]
    excluded = tuple(f"{path}." for path in (*classifiers, *removed))
    weights = {}
    for key, value in state.items():
        if key.startswith(excluded):
            continue
        target_value = target.get(BACKBONE + key)
        if target_value is not None and lacks_domain_column(value, target_value):
            value = torch.cat([value, value.new_zeros(value.shape[0], 1, 1, 1)], dim=1)
        weights[BACKBONE + key] = value
    return weights


def lacks_domain_column(source: Tensor, target: Tensor) -> bool:
    """Whether `source` is a convolution with one input less than `target`."""
    if target.dim() != 4:
        return False
    return tuple(source.shape) == (target.shape[0], target.shape[1] - 1, *target.shape[2:])


def summarise_error(error: Exception) -> str:
    """The start of an error's message: a state dict that does not fit has a line for each entry."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return " ".join(lines[:2])[:300]
