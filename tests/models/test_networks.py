"""All networks: the published values, every attention, image size and feature count."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from models import ATTENTION, NETWORKS, build_network
from models.dase import DASEModule, NoAttention, SEModule


def kinds(network: torch.nn.Module) -> dict[type, int]:
    modules = [type(m) for m in network.modules() if isinstance(m, SEModule | NoAttention)]
    return {kind: modules.count(kind) for kind in set(modules)}


@torch.no_grad()
def with_offsets(network: torch.nn.Module) -> torch.nn.Module:
    """`network` with a domain column that is not zero, as after some training."""
    for module in network.modules():
        if isinstance(module, DASEModule):
            module.fc2.weight[:, -1].normal_()
    return network


@pytest.mark.parametrize("name", ["alexnet", "resnext101"])
def test_equals_the_published_program(golden, fill, name: str) -> None:
    golden_values = golden("networks")
    network = fill(build_network(name, attention="dase", f_dim=512)).eval()
    keys = [f"{key} {tuple(value.shape)}" for key, value in network.state_dict().items()]
    assert keys == golden_values[f"{name}_512_keys"].tolist()
    images = torch.tensor(golden_values["images"]).float() / 255
    with torch.inference_mode():
        found = network(images, torch.tensor(golden_values["domain"])).numpy()
    expected = golden_values[f"{name}_512"]
    assert np.abs(found - expected).max() / np.abs(expected).max() < 1e-4


def test_resnext101_has_the_published_size() -> None:
    network = build_network("resnext101", attention="dase", f_dim=512)
    assert sum(parameter.numel() for parameter in network.parameters()) == 47_981_872
    assert kinds(network) == {DASEModule: 30, SEModule: 3}


def test_layer4_has_domain_aware_modules_only_when_asked() -> None:
    with torch.device("meta"):
        network = build_network("resnext101", attention="dase", f_dim=512, dase_layer4=True)
        usual = build_network("resnext101", attention="dase", f_dim=512)
    assert kinds(network) == {DASEModule: 33}
    shapes, usual_shapes = ({k: v.shape for k, v in n.state_dict().items()} for n in (network, usual))
    differing = {name for name in shapes if shapes[name] != usual_shapes[name]}
    assert differing == {f"layer4.{block}.se_module.fc2.weight" for block in range(3)}


@pytest.mark.parametrize(
    ("name", "attention", "expected"),
    [
        ("resnext101", "se", {SEModule: 33}),
        ("resnext101", "none", {NoAttention: 33}),
        ("alexnet", "dase", {DASEModule: 4}),
        ("alexnet", "se", {SEModule: 4}),
        ("alexnet", "none", {NoAttention: 4}),
        ("resnet18", "dase", {DASEModule: 8}),
        ("resnet18", "se", {SEModule: 8}),
        ("resnet18", "none", {NoAttention: 8}),
    ],
)
def test_attention_replaces_every_module(name: str, attention: str, expected: dict[type, int]) -> None:
    assert kinds(build_network(name, attention=attention, f_dim=8)) == expected


@pytest.mark.parametrize("name", sorted(NETWORKS))
@pytest.mark.parametrize("attention", ATTENTION)
def test_any_size_and_only_dase_sees_the_domain(name: str, attention: str) -> None:
    torch.manual_seed(0)
    network = with_offsets(build_network(name, attention=attention, f_dim=10)).eval()
    for size in (32, 71, 128):
        images = torch.rand(2, 3, size, size)
        with torch.inference_mode():
            sketch, photo = (network(images, torch.full((2,), bit)) for bit in (0.0, 1.0))
        assert sketch.shape == (2, 10) and torch.isfinite(sketch).all()
        assert torch.equal(sketch, photo) == (attention != "dase")


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_the_domain_bit_is_of_each_image(name: str) -> None:
    network = build_network(name, attention="dase", f_dim=10).eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        mixed = network(images, torch.tensor([0.0, 1.0]))
        alone = torch.cat([network(images[:1], torch.zeros(1)), network(images[1:], torch.ones(1))])
    assert torch.allclose(mixed, alone, atol=1e-5)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_parameter_gets_a_gradient(name: str) -> None:
    network = build_network(name, attention="dase", f_dim=10).train()
    network(torch.rand(4, 3, 64, 64), torch.tensor([0.0, 1.0, 0.0, 1.0])).square().mean().backward()
    without = [key for key, parameter in network.named_parameters() if parameter.grad is None]
    assert without == []


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_cuda_equals_cpu(name: str) -> None:
    network = build_network(name, attention="dase", f_dim=10).eval()
    images, domain = torch.rand(2, 3, 64, 64), torch.tensor([0.0, 1.0])
    with torch.inference_mode():
        cpu = network(images, domain)
        cuda = network.cuda()(images.cuda(), domain.cuda()).cpu()
    assert torch.allclose(cpu, cuda, rtol=1e-2, atol=1e-3)


def test_weights_depend_on_the_seed_alone() -> None:
    """Not on whether the network was built before: importing its packages may draw random numbers."""
    code = (
        "import torch; from models import build_network\n"
        "for _ in range(2):\n"
        "    torch.manual_seed(0)\n"
        "    network = build_network('resnext101', attention='dase', f_dim=2)\n"
        "    print(float(network.layer0.conv1.weight.sum()))\n"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    first, second = output.split()
    assert first == second
