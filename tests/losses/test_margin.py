"""What all losses share: annealing, centres, state, float32; and the published program's values."""

import json

import numpy as np
import pytest
import torch

from losses import LOSSES, loss_class

NAMES = sorted(LOSSES)


def batch(classes: int = 5, dim: int = 7, size: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    features = 3 * torch.randn(size, dim, generator=generator)
    return features, torch.arange(size) % classes


@pytest.mark.parametrize("case", range(14))
def test_equals_the_published_program(golden, case: int) -> None:
    golden_values = golden("losses")
    settings = json.loads(str(golden_values["cases"][case]))
    criterion = loss_class(settings["loss"])(
        10,
        32,
        margin=settings["margin"],
        scale=settings.get("scale"),
        annealing_step=settings["annealing_step"],
    )
    criterion.load_state_dict(
        {"centers": torch.tensor(golden_values["centers"]), "step": torch.tensor(settings["step"])}
    )
    features = torch.tensor(golden_values["feature"], requires_grad=True)
    losses = criterion(features, torch.tensor(golden_values["label"]), reduction="none")
    losses.mean().backward()
    results = {"loss": losses.detach(), "grad_feature": features.grad, "grad_centers": criterion.centers.grad}
    for name, result in results.items():
        expected = golden_values[f"{name}_{case}"]
        error = np.abs(result.numpy() - expected).max() / np.abs(expected).max()
        assert error < 1e-5, f"{name} of {settings}"


@pytest.mark.parametrize("name", NAMES)
def test_centres_are_unit_directions_and_the_state_is_centres_and_step(name: str) -> None:
    criterion = loss_class(name)(6, 16)
    assert torch.allclose(criterion.centers.norm(dim=1), torch.ones(6), atol=1e-6)
    assert set(criterion.state_dict()) == {"centers", "step"}
    assert [parameter.shape for parameter in criterion.parameters()] == [(6, 16)]


def test_alpha_is_clipped_and_one_without_annealing() -> None:
    criterion = loss_class("mems")(3, 4, annealing_step=10)
    for step, expected in ((0, 0.0), (5, 0.5), (10, 1.0), (99, 1.0)):
        criterion.step.fill_(step)
        assert float(criterion.alpha) == pytest.approx(expected)
    assert float(loss_class("mems")(3, 4, annealing_step=0).alpha) == 1.0


@pytest.mark.parametrize("name", ["mems", "cosface", "a-softmax"])
def test_the_margin_makes_the_target_harder_as_it_is_annealed(name: str) -> None:
    features, labels = batch()
    criterion = loss_class(name)(5, 7, annealing_step=10)
    losses = []
    for step in (0, 5, 10):
        criterion.step.fill_(step)
        losses.append(criterion(features, labels).item())
    assert losses[0] < losses[1] < losses[2]


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_features_are_computed_in_float32(name: str) -> None:
    features, labels = batch()
    criterion = loss_class(name)(5, 7)
    half = features.to(torch.bfloat16)
    assert criterion(half, labels).dtype == torch.float32
    assert torch.equal(criterion(half, labels), criterion(half.float(), labels))


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_finite_at_a_centre_and_opposite_to_it(name: str) -> None:
    criterion = loss_class(name)(5, 7)
    for sign in (1, -1):
        features = (sign * criterion.centers.detach()).requires_grad_()
        criterion(features, torch.arange(5)).backward()
        assert torch.isfinite(features.grad).all()
        assert torch.isfinite(criterion.centers.grad).all()


def test_unknown_reduction_is_an_error() -> None:
    features, labels = batch()
    with pytest.raises(ValueError, match="not a valid"):
        loss_class("mems")(5, 7)(features, labels, reduction="median")
