"""Every network says what it is by its state dict alone."""

import itertools

import pytest
import torch

from models import ATTENTION, NETWORKS, build_network
from models.recognise import Recognised, recognise


@pytest.mark.parametrize(
    ("name", "attention", "reduction"), list(itertools.product(sorted(NETWORKS), ATTENTION, (1, 16)))
)
def test_what_was_built_is_recognised(name: str, attention: str, reduction: int) -> None:
    with torch.device("meta"):
        network = build_network(name, attention=attention, f_dim=7, reduction=reduction)
    expected = Recognised(name, attention, 16 if attention == "none" else reduction, 7)
    assert recognise(network.state_dict()) == expected


def test_anything_else_is_not() -> None:
    assert recognise({}) is None
    assert recognise({"weight": torch.ones(3)}) is None
    assert recognise({"fc.weight": torch.tensor(1.0)}) is None
