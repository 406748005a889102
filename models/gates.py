"""What the domain bit does: how far the gates of the domain-aware modules move when it alone is flipped.

In every module the bit adds `W2[:, -1]` to the logits of the gates. A module's input
also depends on the bits of the modules before it, so there are two answers: what the bit does in the whole
network, and what it does in one module with the input as it is.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from models.dase import DASEModule, DomainConv

DomainModule = DASEModule | DomainConv


@dataclass(frozen=True)
class GateChange:
    """Mean over images and channels of |g(d = 1) - g(d = 0)|, in [0, 1]."""

    network: float  # if all modules get the other bit
    alone: float  # if this one does


def domain_modules(network: nn.Module) -> dict[str, DomainModule]:
    """The domain-aware modules by name, in the order of depth; none for other attention."""
    return {name: each for name, each in network.named_modules() if isinstance(each, DomainModule)}


def bit_offset(module: DomainModule) -> Tensor:
    """What the bit of a photo adds to the logits of the gates, (C,) float32: the column W2[:, -1]."""
    return module.fc2.weight.detach()[:, -1, 0, 0]


@contextmanager
def gate_logits(modules: dict[str, DomainModule]) -> Iterator[dict[str, Tensor]]:
    """Yield a dict that after each pass through the network holds every module's logits, (B, C)."""
    logits: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        logits[name] = output.flatten(1)

    handles = [each.fc2.register_forward_hook(partial(keep, name)) for name, each in modules.items()]
    try:
        yield logits
    finally:
        for handle in handles:
            handle.remove()


@torch.inference_mode()
def gate_changes(
    network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], *, domain: int, device: torch.device
) -> dict[str, GateChange]:
    """The change of every domain-aware module's gates over images that are of `domain`, by name.

    `batches` yields images (B, 3, S, S) and labels (B,). The network is on `device`, and left in evaluation
    mode.
    """
    network.eval()
    modules = domain_modules(network)
    sums = {name: torch.zeros(2, dtype=torch.float64) for name in modules}
    images_seen = 0
    with gate_logits(modules) as logits:
        for images, _ in batches:
            images = images.to(device, non_blocking=True)
            images_seen += len(images)
            by_bit = []
            for bit in (0.0, 1.0):
                with torch.backends.cudnn.flags(enabled=True, benchmark=False, allow_tf32=False):
                    network(images, torch.full((len(images),), bit, device=device))
                by_bit.append(dict(logits))
            for name, module in modules.items():
                own, other = by_bit[domain][name], by_bit[1 - domain][name]
                shifted = own + (1 - 2 * domain) * bit_offset(module)
                gate = module.gate(own)
                changes = [(module.gate(each) - gate).abs().mean(1).sum() for each in (other, shifted)]
                sums[name] += torch.stack(changes).double().cpu()
    return {name: GateChange(*(each / images_seen).tolist()) for name, each in sums.items()}
