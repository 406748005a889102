"""The written-out fit against PyTorch's spectral norm, autograd and Adam, and its lower bound."""

import numpy as np
import pytest
import torch
from torch.nn.utils.parametrizations import spectral_norm

from retrieval import hashing
from retrieval.hashing import CodeMap, binary_codes, fit, fit_code_map, initial_map, mean_agreement, signs


def doubled(code_map: CodeMap) -> CodeMap:
    return CodeMap(*(each.astype(np.float64) for each in vars(code_map).values()))


def literal_fit(start: CodeMap, x: np.ndarray, steps: int) -> torch.nn.Module:
    """docs/method.md, Hash codes, with PyTorch's modules."""
    bits, dim = start.weight.shape
    free = torch.nn.Linear(dim, bits).double()
    free.weight.data, free.bias.data = torch.tensor(start.weight), torch.tensor(start.bias)
    linear = spectral_norm(free)
    norm = linear.parametrizations.weight[0]
    norm._u.copy_(torch.tensor(start.u))
    norm._v.copy_(torch.tensor(start.v))
    optimizer = torch.optim.Adam(linear.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step // 100 / 100)
    for _ in range(steps):
        z = linear(torch.tensor(x))
        codes = z + (torch.where(z > 0, 1.0, -1.0) - z).detach()
        product = codes @ codes.T
        loss = product[~torch.eye(len(x), dtype=torch.bool)].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return linear


def test_equals_the_literal_fit_step_by_step() -> None:
    x = np.random.default_rng(0).standard_normal((12, 20))
    start = doubled(initial_map(20, 8, seed=0))
    literal = literal_fit(start, x, steps=250)  # crosses two steps of the learning rate
    found = fit(start, x, steps=250)
    expected = literal.parametrizations.weight.original.detach().numpy()
    np.testing.assert_allclose(found.weight, expected, atol=1e-10)
    np.testing.assert_allclose(found.bias, literal.bias.detach().numpy(), atol=1e-10)
    literal.eval()
    with torch.no_grad():
        np.testing.assert_allclose(found(x), literal(torch.tensor(x)).numpy(), atol=1e-8)


@pytest.mark.parametrize(("classes", "bits"), [(25, 32), (16, 8)])
def test_reaches_the_lower_bound_on_random_centres(
    monkeypatch: pytest.MonkeyPatch, classes: int, bits: int
) -> None:
    """Every bit splits the classes evenly: the sum of a code's entries is 0 or +-1."""
    centers = np.random.default_rng(0).standard_normal((classes, 64))
    monkeypatch.setattr(hashing, "FIT_STEPS", 2000)
    _, loss = fit_code_map(centers, bits, angular=False, seed=0)
    bound = bits * ((classes % 2) - classes) / (classes * (classes - 1))
    assert loss == pytest.approx(bound, abs=1e-5)


def test_mean_agreement_is_the_mean_off_diagonal_entry() -> None:
    codes = signs(np.random.default_rng(0).standard_normal((6, 5)))
    product = codes @ codes.T
    assert mean_agreement(codes) == pytest.approx(product[~np.eye(6, dtype=bool)].mean())


def test_the_spectral_norm_of_the_map_is_one() -> None:
    code_map = initial_map(30, 10, seed=0)
    for _ in range(200):
        code_map.power_iteration()
    assert np.linalg.svd(code_map.weight / code_map.sigma)[1][0] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("angular", [False, True])
def test_codes_average_mirrors_and_repeat_by_seed(monkeypatch: pytest.MonkeyPatch, angular: bool) -> None:
    monkeypatch.setattr(hashing, "FIT_STEPS", 50)
    rng = np.random.default_rng(0)
    centers, features = rng.standard_normal((5, 16)), rng.standard_normal((7, 16, 2))
    maps = [fit_code_map(centers, 12, angular=angular, seed=3)[0] for _ in range(2)]
    codes = [binary_codes(features, each, angular=angular) for each in maps]
    assert (codes[0] == codes[1]).all()
    assert codes[0].shape == (7, 12) and set(np.unique(codes[0])) <= {0, 1}
    assert (codes[0] == binary_codes(features[..., ::-1], maps[0], angular=angular)).all()
    if angular:
        assert (codes[0] == binary_codes(10 * features, maps[0], angular=True)).all()


def test_one_class_is_an_error() -> None:
    with pytest.raises(ValueError, match="two classes"):
        fit_code_map(np.zeros((1, 4)), 8, angular=False, seed=0)
