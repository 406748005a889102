"""The modules against the published figures, and against the fold that their formula allows."""

import pytest
import torch

from models.dase import Attention, DASEModule, NoAttention, SEModule


@pytest.mark.parametrize(("kind", "entry"), [("dase", "domain_aware"), ("se", "plain")])
def test_equals_the_published_program(golden, fill, kind: str, entry: str) -> None:
    figures = golden("se_module")
    module = fill(Attention(kind).module(64))
    with torch.inference_mode():
        found = module(torch.tensor(figures["x"]), torch.tensor(figures["domain"]))
    assert torch.allclose(found, torch.tensor(figures[entry]), atol=1e-6)


def test_for_one_domain_it_folds_into_a_plain_module() -> None:
    module = DASEModule(32)
    x = torch.randn(3, 32, 5, 5)
    for bit in (0.0, 1.0):
        plain = SEModule(32)
        plain.fc1.load_state_dict(module.fc1.state_dict())
        plain.fc2.weight.data = module.fc2.weight[:, :-1].detach()
        plain.fc2.bias.data = (module.fc2.bias + bit * module.fc2.weight[:, -1, 0, 0]).detach()
        domain = torch.full((3,), bit)
        assert torch.allclose(module(x, domain), plain(x, domain), atol=1e-6)


def test_none_has_no_parameters_and_changes_nothing() -> None:
    module = Attention("none").module(32)
    x = torch.randn(3, 32, 5, 5)
    assert isinstance(module, NoAttention)
    assert list(module.parameters()) == []
    assert module(x, torch.ones(3)) is x
