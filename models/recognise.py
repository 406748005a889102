"""Which network a plain state dict is of: published checkpoints say it by their names and shapes alone."""

from dataclasses import dataclass

from torch import Tensor

from models import NETWORKS, network_module


@dataclass(frozen=True)
class Recognised:
    """Arguments of `build_network` that rebuild it; the activation leaves no trace in a state dict."""

    network: str
    attention: str
    reduction: int
    f_dim: int


def recognise(state: dict[str, Tensor]) -> Recognised | None:
    """The network whose head `state` has, or None. Its other entries are left to a strict loading."""
    for name in NETWORKS:
        module = network_module(name)
        head = state.get(f"{module.HEAD}weight")
        if head is not None and head.dim() == 2:
            attention, reduction = recognise_attention(state, module.FIRST_ATTENTION)
            return Recognised(name, attention, reduction, head.shape[0])
    return None


def recognise_attention(state: dict[str, Tensor], prefix: str) -> tuple[str, int]:
    """Kind and reduction of the module at `prefix`: a domain bit is one input more for fc2."""
    squeeze, excite = (state.get(f"{prefix}{layer}.weight") for layer in ("fc1", "fc2"))
    if squeeze is None or excite is None or squeeze.dim() != 4 or excite.dim() != 4:
        return "none", 16
    squeezed, channels = squeeze.shape[:2]
    return "dase" if excite.shape[1] == squeezed + 1 else "se", max(1, channels // squeezed)
