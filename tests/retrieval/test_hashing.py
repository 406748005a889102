"""The fit against numbers of the published program, PyTorch's autograd and its lower bound."""

import numpy as np
import pytest
import torch

from benchmarks.hash_gradient import draw_uneven_clusters, measure_hash_map
from retrieval import hashing
from retrieval.hashing import (
    AgreementGradient,
    CodeMap,
    binarise,
    binary_codes,
    fit_code_map,
    fit_steps,
    initialise_map,
    mean_agreement,
)


def to_float64(code_map: CodeMap) -> CodeMap:
    return CodeMap(**{name: value.astype(np.float64) for name, value in vars(code_map).items()})


def fit_by_autograd(start: CodeMap, x: np.ndarray, steps: int, gradient: str) -> dict[str, np.ndarray]:
    """docs/method.md, Hash codes, with PyTorch's autograd and Adam."""
    points = torch.tensor(x)
    weight = torch.tensor(start.weight, requires_grad=True)
    bias = torch.tensor(start.bias, requires_grad=True)
    u, v = torch.tensor(start.u), torch.tensor(start.v)
    optimizer = torch.optim.Adam([weight, bias], lr=1e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step // 100 / 100)
    for _ in range(steps):
        with torch.no_grad():
            v = torch.nn.functional.normalize(weight.T @ u, dim=0)
            u = torch.nn.functional.normalize(weight @ v, dim=0)
        z = points @ (weight / (u @ weight @ v)).T + bias
        if gradient == "published":
            codes = z / (z.abs().detach() + 1e-8)
        else:
            codes = z + (torch.where(z > 0, 1.0, -1.0) - z).detach()
        loss = (codes @ codes.T)[~torch.eye(len(x), dtype=torch.bool)].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return {"weight": weight.detach().numpy(), "bias": bias.detach().numpy(), "u": u.numpy(), "v": v.numpy()}


@pytest.mark.parametrize("gradient", hashing.GRADIENTS)
def test_equals_a_fit_by_autograd(gradient: str) -> None:
    x = np.random.default_rng(0).standard_normal((12, 20))
    code_map = to_float64(initialise_map(20, 8, seed=0))
    steps = 120  # crosses a step of the learning rate
    expected = fit_by_autograd(code_map, x, steps, gradient)
    fit_steps(code_map, x, steps, gradient=gradient)
    for name, values in expected.items():
        np.testing.assert_allclose(getattr(code_map, name), values, atol=1e-7, err_msg=name)


def published_start(golden_values: dict[str, np.ndarray]) -> CodeMap:
    return CodeMap(*(golden_values[name].copy() for name in ("weight", "bias", "u", "v")))


def test_gradient_is_the_published_programs(golden) -> None:
    golden_values = golden("hash_fit")
    code_map = published_start(golden_values)
    weight, bias = np.empty_like(code_map.weight), np.empty_like(code_map.bias)
    sigma = code_map.power_iteration()
    AgreementGradient(code_map, golden_values["centers"], "published").compute(sigma, weight, bias)
    np.testing.assert_allclose(weight, golden_values["gradient_weight"], rtol=0, atol=1e-10)
    np.testing.assert_allclose(bias, golden_values["gradient_bias"], rtol=0, atol=1e-10)


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 10])
def test_steps_are_the_published_programs(golden, steps: int) -> None:
    golden_values = golden("hash_fit")
    code_map = published_start(golden_values)
    fit_steps(code_map, golden_values["centers"], steps)
    np.testing.assert_allclose(code_map.weight, golden_values[f"weight_after_{steps}"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(code_map.bias, golden_values[f"bias_after_{steps}"], rtol=0, atol=1e-6)


def test_the_published_gradient_finds_better_codes_of_uneven_centres(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small case of `python -m benchmarks.hash_gradient`, which has the numbers of docs/performance.md."""
    monkeypatch.setattr(hashing, "FIT_STEPS", 2000)
    centers, features, labels = draw_uneven_clusters(classes=125, width=512, photos=5)
    maps = {
        name: np.mean([measure_hash_map(centers, features, labels, 32, name, seed) for seed in range(2)])
        for name in hashing.GRADIENTS
    }
    assert maps["published"] > maps["identity"] + 2


def test_a_gradient_of_another_name_is_refused() -> None:
    with pytest.raises(ValueError, match="'sign' is none of published, identity"):
        fit_code_map(np.eye(3), 8, angular=False, seed=0, gradient="sign")


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
    codes = binarise(np.random.default_rng(0).standard_normal((6, 5)))
    product = codes @ codes.T
    assert mean_agreement(codes) == pytest.approx(product[~np.eye(6, dtype=bool)].mean())


def test_the_spectral_norm_of_the_map_is_one() -> None:
    code_map = initialise_map(30, 10, seed=0)
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
