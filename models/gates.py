"""The effect of the domain bit: how far the gates of domain-aware modules change when only the bit changes.

In every module the bit adds `W2[:, -1]` to the logits of the gates. The input of a module also depends on
the bits of the modules before it, so there are two answers: the effect of the bit in the whole network, and
its effect in one module with the same input.
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
    alone: float  # if only this module does


def find_domain_modules(network: nn.Module) -> dict[str, DomainModule]:
    """The domain-aware modules by name, in order of depth; empty for other attention."""
    return {name: module for name, module in network.named_modules() if isinstance(module, DomainModule)}


def photo_offset(module: DomainModule) -> Tensor:
    """What the domain bit of a photo adds to the logits of the gates, (C,) float32: the column W2[:, -1]."""
    return module.fc2.weight.detach()[:, -1, 0, 0]


@contextmanager
def record_gate_logits(modules: dict[str, DomainModule]) -> Iterator[dict[str, Tensor]]:
    """Yield a dict that holds the logits (B, C) of every module after each pass through the network."""
    logits: dict[str, Tensor] = {}

    def save_output(name: str, module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        logits[name] = output.flatten(1)

    handles = [
        module.fc2.register_forward_hook(partial(save_output, name)) for name, module in modules.items()
    ]
    try:
        yield logits
    finally:
        for handle in handles:
            handle.remove()


@torch.inference_mode()
def measure_gate_changes(
    network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], *, domain: int, device: torch.device
) -> dict[str, GateChange]:
    """The mean change of the gates of every domain-aware module, by name, over images of `domain`.

    `batches` yields images (B, 3, S, S) and labels (B,). The network is on `device`, and is left in
    evaluation mode.
    """
    network.eval()
    modules = find_domain_modules(network)
    sums = {name: torch.zeros(2, dtype=torch.float64) for name in modules}
    images_seen = 0
    with record_gate_logits(modules) as logits:
        for images, _ in batches:
            images = images.to(device, non_blocking=True)
            images_seen += len(images)
            logits_by_bit = []
            for bit in (0.0, 1.0):
                with torch.backends.cudnn.flags(enabled=True, benchmark=False, allow_tf32=False):
                    network(images, torch.full((len(images),), bit, device=device))
                logits_by_bit.append(dict(logits))
            for name, module in modules.items():
                own, other = logits_by_bit[domain][name], logits_by_bit[1 - domain][name]
                sign = -1 if domain == 1 else 1  # the bit of a photo is taken away, that of a sketch is added
                shifted = own + sign * photo_offset(module)
                gate = module.gate(own)
                changes = [(module.gate(logit) - gate).abs().mean(1).sum() for logit in (other, shifted)]
                sums[name] += torch.stack(changes).double().cpu()
    return {name: GateChange(*(changes / images_seen).tolist()) for name, changes in sums.items()}
