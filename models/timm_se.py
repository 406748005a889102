"""Any network of timm that has SE modules, with the domain bit in each of them: `--network=timm:NAME`.

The domain bit enters where it does in `models.dase`: as one more input of the module's last convolution,

    g = gate(W2 * [z ; d] + b2)

whatever the module's own gate, activation and number of squeezed channels are. The new column of W2 starts at
zero, so that a pretrained network computes at first what it did, for both domains. Its averaged features go
through a linear layer of f_dim outputs.

timm's blocks hand on images alone, so the bit does not come to the modules as an argument: the network tells
it to them before each pass, in each thread by itself.
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
IMAGENET_URLS: tuple[str, ...] = ()  # timm's own loader has them
BACKBONE = "backbone."
EXCITE = ("fc2", "conv_expand", "fc")  # what timm's SE modules call their last convolution
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
        self.backbone = create(name)
        self.timm_features = nn.Linear(self.backbone.head_hidden_size, f_dim)
        self.bit = DomainBit()
        found = se_modules(self.backbone)
        if not found:
            raise UserError(
                f"--network={PREFIX}{name} has no SE modules that could be told the domain; some that have "
                f"are {', '.join(PREFIX + each for each in SUGGESTIONS)}"
            )
        for path, module in found.items():
            if attention.kind == "none":
                parent, _, child = path.rpartition(".")
                setattr(self.backbone.get_submodule(parent), child, nn.Identity())
            elif attention.kind == "dase":
                excite = str(excite_name(module))
                plain = getattr(module, excite)
                setattr(module, excite, DomainConv(plain, self.bit, gate_of(module)))

    def forward(self, images: Tensor, domain: Tensor | None) -> Tensor:
        self.bit.value = domain
        try:
            return self.timm_features(self.backbone(images))
        finally:
            self.bit.value = None


def excite_name(module: nn.Module) -> str | None:
    """What an SE module calls its last convolution; None for any other module."""
    children = dict(module.named_children())
    if not any(isinstance(each, nn.Sigmoid) or name == "gate" for name, each in children.items()):
        return None
    for name in EXCITE:
        last = children.get(name)
        if isinstance(last, nn.Conv2d) and last.kernel_size == (1, 1):
            return name
    return None


def gate_of(module: nn.Module) -> nn.Module:
    """The activation of an SE module's gates: what comes after its last convolution."""
    children = dict(module.named_children())
    return children["gate"] if "gate" in children else children["sigmoid"]


def se_modules(network: nn.Module) -> dict[str, nn.Module]:
    """The SE modules of a network of timm by name, in the order of depth."""
    return {name: each for name, each in network.named_modules() if excite_name(each)}


def create(name: str, **options: Any) -> Any:
    """timm's network without its classifier, averaged features out. Raises UserError if there is none."""
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3) or list(SUGGESTIONS)
        raise UserError(
            f"timm {timm.__version__} has no network {name}; do you mean "
            f"{' or '.join(PREFIX + each for each in near)}?"
        )
    return timm.create_model(name, num_classes=0, **{"pretrained": False, **options})


def build(name: str, attention: Attention, f_dim: int) -> TimmSE:
    return TimmSE(name.removeprefix(PREFIX), attention, f_dim)


def input_normalisation(name: str) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and standard deviation that timm's weights of this network were trained with."""
    config = get_pretrained_cfg(name.removeprefix(PREFIX), allow_unregistered=True)
    return (tuple(config.mean), tuple(config.std)) if config else None


def has_imagenet_weights(name: str) -> bool:
    """Whether timm knows where weights of this network are, to be downloaded."""
    config = get_pretrained_cfg(name.removeprefix(PREFIX), allow_unregistered=True)
    return bool(config and config.has_weights)


def imagenet_weights(network: nn.Module, name: str) -> dict[str, Tensor]:
    """timm's weights, from where it has them, by the names of `network`. Raises UserError if that fails."""
    try:
        plain = create(name.removeprefix(PREFIX), pretrained=True)
    except UserError:
        raise  # there is no such network
    except Exception as error:  # of the hub's clients, there is no end of kinds
        raise UserError(
            f"no ImageNet weights of {name} could be had ({first_line(error)}); fetch a file of them on "
            "another machine and pass it as --backbone_weights=FILE, or start at random with "
            "--backbone_weights=none"
        ) from error
    return by_own_names(network, plain, plain.state_dict())


def converted_weights(network: nn.Module, name: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A file's weights by the names of `network`: timm's, as its own loader takes them, or this program's.

    What is missing or of another shape is left to `models.weights.load_backbone`, which refuses it; timm
    itself may only warn.
    """
    if any(key.startswith(BACKBONE) for key in state):
        return state
    plain = create(name.removeprefix(PREFIX))
    convert = getattr(sys.modules[type(plain).__module__], "checkpoint_filter_fn", None)
    try:
        state = convert(state, plain) if convert else state
    except Exception as error:  # timm's converters expect the right file
        raise UserError(f"the weights are not those of {name}: {first_line(error)}") from error
    return by_own_names(network, plain, state)


def by_own_names(network: nn.Module, plain: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """timm's weights as those of `network`: domain columns zero, classifier and dropped modules left out."""
    target = network.state_dict()
    classifiers = getattr(plain, "pretrained_cfg", {}).get("classifier") or ()
    classifiers = (classifiers,) if isinstance(classifiers, str) else tuple(classifiers)
    excluded = [*classifiers] + [
        path for path in se_modules(plain) if not any(key.startswith(f"{BACKBONE}{path}.") for key in target)
    ]
    weights = {}
    for key, value in state.items():
        if any(key.startswith(f"{each}.") for each in excluded):
            continue
        own = target.get(BACKBONE + key)
        if own is not None and lacks_domain_column(value, own):
            value = torch.cat([value, value.new_zeros(value.shape[0], 1, 1, 1)], dim=1)
        weights[BACKBONE + key] = value
    return weights


def lacks_domain_column(value: Tensor, own: Tensor) -> bool:
    return own.dim() == 4 and tuple(value.shape) == (own.shape[0], own.shape[1] - 1, *own.shape[2:])


def first_line(error: Exception) -> str:
    """What an error says, short: a state dict that does not fit has a line for each entry."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return " ".join(lines[:2])[:300]
