"""One plain network per domain gives what the network with the domain bit gives."""

import pytest
import torch
from torch import nn

from models import ATTENTION, NETWORKS, SE_ACTIVATIONS, build_network
from models.dase import DASEModule
from models.domain_folding import fold_domain_bit

SKETCH, PHOTO = 0, 1


def with_figures(network: nn.Module) -> nn.Module:
    """`network` with weights under which the bit matters, and with statistics of a training."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, DASEModule):
            nn.init.normal_(module.fc2.weight[:, -1:])
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return network.eval()


def network_of(name: str, attention: str, activation: str = "sigmoid") -> nn.Module:
    return with_figures(build_network(name, attention=attention, f_dim=10, activation=activation))


@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("name", sorted(NETWORKS))
@torch.inference_mode()
def test_it_gives_the_features_of_its_domain(name: str, attention: str) -> None:
    network = network_of(name, attention)
    images = torch.rand(2, 3, 64, 64)
    found = {}
    for domain in (SKETCH, PHOTO):
        bits = torch.full((2,), float(domain))
        expected, found[domain] = network(images, bits), fold_domain_bit(network, domain)(images)
        assert (found[domain] - expected).abs().max() < 1e-5 * expected.abs().max()
    apart = (found[SKETCH] - found[PHOTO]).abs().max()
    assert apart > 1e-3 * found[PHOTO].abs().max() if attention == "dase" else apart == 0


@pytest.mark.parametrize(
    ("name", "activation"),
    [*((name, SE_ACTIVATIONS[0]) for name in sorted(NETWORKS)), ("resnet18", SE_ACTIVATIONS[1])],
)
@torch.inference_mode()
def test_in_float64_it_is_exact(name: str, activation: str) -> None:
    network = network_of(name, "dase", activation).double()
    images = torch.rand(1, 3, 32, 32, dtype=torch.float64)
    for domain in (SKETCH, PHOTO):
        expected = network(images, torch.tensor([float(domain)], dtype=torch.float64))
        found = fold_domain_bit(network, domain)(images)
        assert found.dtype == torch.float64
        assert (found - expected).abs().max() <= 1e-12 * expected.abs().max()


def test_the_network_stays_as_it_was() -> None:
    network = network_of("alexnet", "dase").train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    plain = fold_domain_bit(network, PHOTO)
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.zero_()
    after = network.state_dict()
    assert list(before) == list(after) and all(torch.equal(before[name], after[name]) for name in before)
    assert network.training and network.dase1.training and not plain.training


def test_no_module_looks_at_a_domain_any_more() -> None:
    plain = fold_domain_bit(network_of("resnext101", "dase"), SKETCH)
    assert not any(isinstance(module, DASEModule) for module in plain.modules())
    assert all(parameter.is_leaf and parameter.is_contiguous() for parameter in plain.parameters())


def test_another_domain_is_refused() -> None:
    with pytest.raises(ValueError, match=r"0 \(sketch\) or 1 \(photo\), not 2"):
        fold_domain_bit(network_of("alexnet", "dase"), 2)
