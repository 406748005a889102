"""Pooling that can be deterministic on CUDA is the usual one."""

import pytest
import torch

from models.pooling import AveragePool, pool_by_matmul


@pytest.mark.parametrize(("height", "width"), [(7, 7), (2, 2), (1, 3), (16, 11)])
def test_pooling_by_products_is_adaptive_average_pooling(height: int, width: int) -> None:
    images = torch.rand(2, 3, height, width, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(2, 3, 7, 7, dtype=torch.float64)
    gradients = []
    for pool in (torch.nn.AdaptiveAvgPool2d(7), lambda x: pool_by_matmul(x, 7)):
        found = pool(images)
        (gradient,) = torch.autograd.grad((found * weights).sum(), images)
        gradients.append((found, gradient))
    for expected, found in zip(*gradients, strict=True):
        assert torch.allclose(expected, found, atol=1e-7)


def test_on_the_cpu_it_is_pytorchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.rand(1, 2, 5, 9)
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    assert torch.equal(AveragePool(3)(images), torch.nn.AdaptiveAvgPool2d(3)(images))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_cuda_its_gradient_can_be_deterministic() -> None:
    images = torch.rand(2, 3, 16, 16, device="cuda", requires_grad=True)
    torch.use_deterministic_algorithms(True)
    try:
        AveragePool(7)(images).square().sum().backward()
    finally:
        torch.use_deterministic_algorithms(False)
    assert images.grad is not None and images.grad.isfinite().all()
