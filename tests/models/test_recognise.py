"""Every network says what it is by its state dict alone."""

import itertools

import pytest
import torch

from models import ATTENTION, NETWORKS, build_network
from models.recognise import recognise_network


@pytest.mark.parametrize(
    ("name", "attention", "reduction"),
    [
        *itertools.product(sorted(NETWORKS.keys() - {"tiny"}), ATTENTION, (16,)),
        *itertools.product(sorted(NETWORKS.keys() - {"tiny"}), ("dase",), (24,)),
        *itertools.product(("resnet18",), ATTENTION, (1, 20, 100)),
    ],
)
def test_what_was_built_is_recognised(name: str, attention: str, reduction: int) -> None:
    with torch.device("meta"):
        network = build_network(name, attention=attention, f_dim=7, reduction=reduction)
    recognised = recognise_network(network.state_dict())
    assert recognised is not None and (recognised.network, recognised.attention, recognised.f_dim) == (
        name,
        attention,
        7,
    )
    if attention == "none":
        assert recognised.reductions == (16,)
    else:
        assert reduction in recognised.reductions and recognised.choose_reduction(reduction) == reduction
        other = recognised.choose_reduction(3)
        with torch.device("meta"):
            rebuilt = build_network(name, attention=attention, f_dim=7, reduction=other)
        shapes = [{k: v.shape for k, v in each.state_dict().items()} for each in (network, rebuilt)]
        assert shapes[0] == shapes[1]


def test_modules_of_layer4_are_recognised() -> None:
    for dase_layer4 in (False, True):
        with torch.device("meta"):
            network = build_network("resnext101", attention="dase", f_dim=7, dase_layer4=dase_layer4)
        recognised = recognise_network(network.state_dict())
        assert (
            recognised is not None
            and recognised.attention == "dase"
            and recognised.dase_layer4 == dase_layer4
        )


def test_anything_else_is_not() -> None:
    assert recognise_network({}) is None
    assert recognise_network({"weight": torch.ones(3)}) is None
    assert recognise_network({"fc.weight": torch.tensor(1.0)}) is None
