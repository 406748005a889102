"""Recognise the network of a state dict by its names and shapes: published checkpoints say nothing else."""

from dataclasses import dataclass

import torch
from torch import Tensor

from models import NETWORKS, build_network, network_module
from models.dase import REDUCTION


@dataclass(frozen=True)
class RecognisedNetwork:
    """Arguments of `build_network` for this network; the activation cannot be told from a state dict."""

    network: str
    attention: str
    reductions: tuple[int, ...]  # all that give these shapes: 1024 // 100 equals 1024 // 101
    f_dim: int
    dase_layer4: bool = False

    def choose_reduction(self, preferred: int) -> int:
        """`preferred` if it gives the shapes of the state dict, else the smallest reduction that does."""
        return preferred if preferred in self.reductions else self.reductions[0]


def recognise_network(state: dict[str, Tensor]) -> RecognisedNetwork | None:
    """The network whose head `state` has, or None. A strict loading has to check the other entries."""
    for name in NETWORKS:
        module = network_module(name)
        head = state.get(f"{module.HEAD}weight")
        if head is not None and head.dim() == 2 and has_backbone_of(name, state):
            attention = attention_kind(state, module.FIRST_ATTENTION)
            layer4 = getattr(module, "LAYER4_ATTENTION", None)
            return RecognisedNetwork(
                network=name,
                attention=attention,
                reductions=possible_reductions(state, getattr(module, "MIN_SQUEEZED", 1)),
                f_dim=len(head),
                dase_layer4=attention == "dase"
                and layer4 is not None
                and attention_kind(state, layer4) == "dase",
            )
    return None


def has_backbone_of(name: str, state: dict[str, Tensor]) -> bool:
    """Whether `state` has the shapes of the network `name`, where several networks share a HEAD."""
    if list(NETWORKS.values()).count(NETWORKS[name]) == 1:
        return True
    with torch.device("meta"):
        network = build_network(name, attention="none", f_dim=1)
    shapes = {key: value.shape for key, value in state.items()}
    head = network_module(name).HEAD
    return all(
        shapes.get(key) == value.shape
        for key, value in network.state_dict().items()
        if not key.startswith(head)
    )


def attention_kind(state: dict[str, Tensor], prefix: str) -> str:
    """Kind of the module at `prefix`: the domain bit is one more input of fc2."""
    squeeze, excite = (state.get(f"{prefix}{layer}.weight") for layer in ("fc1", "fc2"))
    if squeeze is None or excite is None or squeeze.dim() != 4 or excite.dim() != 4:
        return "none"
    return "dase" if excite.shape[1] == squeeze.shape[0] + 1 else "se"


def possible_reductions(state: dict[str, Tensor], min_squeezed: int = 1) -> tuple[int, ...]:
    """All reductions that give the shapes of every fc1; the default one if none does."""
    shapes = {
        (value.shape[1], value.shape[0])
        for name, value in state.items()
        if name.endswith(".fc1.weight") and value.dim() == 4
    }
    largest = max((channels for channels, _ in shapes), default=0)
    possible = [
        reduction
        for reduction in range(1, largest + 1)
        if all(max(min_squeezed, c // reduction) == squeezed for c, squeezed in shapes)
    ]
    return tuple(possible) or (REDUCTION,)
