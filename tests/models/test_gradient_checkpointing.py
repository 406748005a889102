"""Recomputed blocks: the same gradients and the same running statistics, with less kept."""

import pytest
import torch
from torch import nn

from models import build_network, network_module
from models.gradient_checkpointing import enable_gradient_checkpointing


def trained(name: str, recomputed: bool) -> tuple[nn.Module, int]:
    """A network after one backward pass in training mode, and how many numbers it kept for it."""
    torch.manual_seed(0)
    network = build_network(name, attention="dase", f_dim=4).train()
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    if recomputed:
        enable_gradient_checkpointing(
            each for each in network.modules() if isinstance(each, network_module(name).Block)
        )
    kept = 0

    def count(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        kept += tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        loss = network(torch.rand(4, 3, 32, 32), torch.tensor([0.0, 0, 1, 1])).square().sum()
    loss.backward()
    return network, kept


@pytest.mark.parametrize("name", ["resnet18", "resnext101", "efficientnet_lite0"])
def test_gradients_and_statistics_are_the_same(name: str) -> None:
    plain, kept = trained(name, False)
    lean, kept_lean = trained(name, True)
    assert kept_lean < kept / 2
    for (key, expected), (_, found) in zip(
        plain.state_dict().items(), lean.state_dict().items(), strict=True
    ):
        assert torch.equal(expected, found), key
    for expected, found in zip(plain.parameters(), lean.parameters(), strict=True):
        assert torch.allclose(expected.grad, found.grad, rtol=1e-5, atol=1e-7)
    assert all(each.momentum == 0.1 for each in lean.modules() if isinstance(each, nn.BatchNorm2d))
