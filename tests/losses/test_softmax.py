"""The baseline is a plain linear classifier."""

import torch

from losses.softmax import Softmax


def test_equals_a_linear_layer() -> None:
    criterion = Softmax(4, 6)
    features, labels = torch.randn(8, 6), torch.arange(8) % 4
    linear = torch.nn.Linear(6, 4, bias=False)
    linear.weight.data = criterion.centers.data
    expected = torch.nn.functional.cross_entropy(linear(features), labels)
    assert torch.allclose(criterion(features, labels), expected)
    assert Softmax.facts.default_margin is None and Softmax.facts.default_scale is None
