"""The modules against the published values. The fold: test_domain_folding.py."""

import pytest
import torch

from models.dase import Attention, NoAttention


@pytest.mark.parametrize(("kind", "entry"), [("dase", "domain_aware"), ("se", "plain")])
def test_equals_the_published_program(golden, fill, kind: str, entry: str) -> None:
    golden_values = golden("se_module")
    module = fill(Attention(kind).build_module(64))
    with torch.inference_mode():
        found = module(torch.tensor(golden_values["x"]), torch.tensor(golden_values["domain"]))
    assert torch.allclose(found, torch.tensor(golden_values[entry]), atol=1e-6)


def test_none_has_no_parameters_and_changes_nothing() -> None:
    module = Attention("none").build_module(32)
    x = torch.randn(3, 32, 5, 5)
    assert isinstance(module, NoAttention)
    assert list(module.parameters()) == []
    assert module(x, torch.ones(3)) is x


@pytest.mark.parametrize("kind", ["dase", "se"])
def test_with_relu_and_another_reduction_it_is_the_formula(kind: str) -> None:
    module = Attention(kind, reduction=4, activation="relu").build_module(32)
    x, domain = torch.randn(3, 32, 5, 5), torch.tensor([0.0, 1.0, 1.0])
    weight1, weight2 = (layer.weight[:, :, 0, 0] for layer in (module.fc1, module.fc2))
    z = (x.mean(dim=(2, 3)) @ weight1.T + module.fc1.bias).clamp(min=0)
    assert z.shape == (3, 8)
    if kind == "dase":
        z = torch.cat([z, domain[:, None]], dim=1)
    gate = 1 / (1 + torch.exp(-(z @ weight2.T + module.fc2.bias)))
    assert torch.allclose(module(x, domain), x * gate[:, :, None, None], atol=1e-5)


def test_a_reduction_above_the_channels_leaves_one() -> None:
    assert Attention("se", reduction=64).build_module(32).fc1.weight.shape == (1, 32, 1, 1)
