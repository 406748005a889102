"""Which network a plain state dict is of: published checkpoints say it by their names and shapes alone."""

from dataclasses import dataclass

import torch
from torch import Tensor

from models import NETWORKS, build_network, network_module
from models.dase import REDUCTION


@dataclass(frozen=True)
class Recognised:
    """Arguments of `build_network` that rebuild it; the activation leaves no trace in a state dict."""

    network: str
    attention: str
    reductions: tuple[int, ...]  # all that give these shapes: 1024 // 100 is 1024 // 101
    f_dim: int
    dase_layer4: bool = False

    def closest_reduction(self, wanted: int) -> int:
        """`wanted` if it gives the shapes of the state dict, else the smallest that does."""
        return wanted if wanted in self.reductions else self.reductions[0]


def recognise(state: dict[str, Tensor]) -> Recognised | None:
    """The network whose head `state` has, or None. Its other entries are left to a strict loading."""
    for name in NETWORKS:
        module = network_module(name)
        head = state.get(f"{module.HEAD}weight")
        if head is not None and head.dim() == 2 and fits(name, state):
            attention = attention_of(state, module.FIRST_ATTENTION)
            layer4 = getattr(module, "LAYER4_ATTENTION", None)
            in_layer4 = attention == "dase" and layer4 is not None and attention_of(state, layer4) == "dase"
            least = getattr(module, "LEAST_SQUEEZED", 1)
            return Recognised(name, attention, reductions(state, least), len(head), in_layer4)
    return None


def fits(name: str, state: dict[str, Tensor]) -> bool:
    """Whether `state` is of the network `name`, where several share a module and so the name of the head."""
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


def attention_of(state: dict[str, Tensor], prefix: str) -> str:
    """Kind of the module at `prefix`: a domain bit is one input more for fc2."""
    squeeze, excite = (state.get(f"{prefix}{layer}.weight") for layer in ("fc1", "fc2"))
    if squeeze is None or excite is None or squeeze.dim() != 4 or excite.dim() != 4:
        return "none"
    return "dase" if excite.shape[1] == squeeze.shape[0] + 1 else "se"


def reductions(state: dict[str, Tensor], least_squeezed: int = 1) -> tuple[int, ...]:
    """All reductions that give the shapes of every squeezing layer; the default one if none does."""
    shapes = {
        (value.shape[1], value.shape[0])
        for name, value in state.items()
        if name.endswith(".fc1.weight") and value.dim() == 4
    }
    largest = max((channels for channels, _ in shapes), default=0)
    fitting = [
        reduction
        for reduction in range(1, largest + 1)
        if all(max(least_squeezed, c // reduction) == squeezed for c, squeezed in shapes)
    ]
    return tuple(fitting) or (REDUCTION,)
