"""The change of the gates, computed a second time from the formula."""

import pytest
import torch

from datasets import PHOTO, SKETCH
from models import build_network
from models.dase import DASEModule
from models.gates import find_domain_modules, measure_gate_changes, photo_offset

CPU = torch.device("cpu")


def network(attention: str = "dase") -> torch.nn.Module:
    torch.manual_seed(0)
    return build_network("resnet18", attention=attention, f_dim=8).eval()


def batches(sizes: tuple[int, ...] = (3, 2)) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [(torch.rand(size, 3, 32, 32, generator=generator), torch.zeros(size)) for size in sizes]


def gate(module: DASEModule, x: torch.Tensor, bit: float) -> torch.Tensor:
    """The formula of docs/method.md, Networks, with matrices."""
    weight1, weight2 = (layer.weight[:, :, 0, 0] for layer in (module.fc1, module.fc2))
    z = torch.sigmoid(x.mean(dim=(2, 3)) @ weight1.T + module.fc1.bias)
    z = torch.cat([z, torch.full((len(x), 1), bit)], dim=1)
    return torch.sigmoid(z @ weight2.T + module.fc2.bias)


@pytest.mark.parametrize("domain", [SKETCH, PHOTO])
def test_changes_are_those_of_the_formula(domain: int) -> None:
    net = network()
    found = measure_gate_changes(net, batches(), domain=domain, device=CPU)
    images = torch.cat([each for each, _ in batches()])
    inputs: dict[tuple[str, int], torch.Tensor] = {}
    for name, module in find_domain_modules(net).items():
        module.register_forward_pre_hook(lambda _, given, name=name: inputs.update({(name, bit): given[0]}))
    with torch.inference_mode():
        for bit in (0, 1):
            net(images, torch.full((len(images),), float(bit)))
        for name, module in find_domain_modules(net).items():
            by_bit = [gate(module, inputs[name, bit], float(bit)) for bit in (0, 1)]
            assert found[name].network == pytest.approx((by_bit[1] - by_bit[0]).abs().mean().item(), rel=1e-4)
            alone = gate(module, inputs[name, domain], float(1 - domain)) - by_bit[domain]
            assert found[name].alone == pytest.approx(alone.abs().mean().item(), rel=1e-4)
    first = next(iter(found.values()))
    assert first.network == pytest.approx(first.alone, rel=1e-4), "nothing before it has a bit"
    assert len(found) == 8 and all(0 < each.alone < 1 for each in found.values())


def test_a_bit_without_weight_changes_nothing() -> None:
    net = network()
    for module in find_domain_modules(net).values():
        module.fc2.weight.data[:, -1] = 0
        assert photo_offset(module).abs().max() == 0
    assert {
        (each.network, each.alone)
        for each in measure_gate_changes(net, batches(), domain=0, device=CPU).values()
    } == {(0.0, 0.0)}


def test_batches_do_not_matter_and_hooks_are_gone() -> None:
    net = network()
    one, other = (measure_gate_changes(net, batches(), domain=PHOTO, device=CPU) for _ in range(2))
    joint = [(torch.cat([each for each, _ in batches()]), torch.zeros(5))]
    for name, change in measure_gate_changes(net, joint, domain=PHOTO, device=CPU).items():
        assert one[name] == other[name]
        assert change.network == pytest.approx(one[name].network, rel=1e-4)
    assert not any(module.fc2._forward_hooks for module in find_domain_modules(net).values())


@pytest.mark.parametrize("attention", ["se", "none"])
def test_other_attention_has_no_bit(attention: str) -> None:
    assert find_domain_modules(network(attention)) == {}


def test_the_last_layer_of_se_resnext_has_plain_modules() -> None:
    with torch.device("meta"):
        names = list(find_domain_modules(build_network("resnext101", attention="dase", f_dim=8)))
    assert len(names) == 30 and names[0] == "layer1.0.se_module" and names[-1].startswith("layer3.")
