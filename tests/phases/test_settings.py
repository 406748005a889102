"""Defaults of margin and scale: the log says where each comes from, and few are the published commands'."""

import logging

import pytest

import main
from losses import LOSSES
from phases.settings import is_used, published_recipe, resolve_loss

PUBLISHED = {
    ("mems", "resnext101"): {"margin": 4.0},
    ("mems", "alexnet"): {"margin": 2.0},
    ("cosface", "resnext101"): {"margin": 0.35, "scale": 32.0},
}


@pytest.mark.parametrize("network", ["resnext101", "alexnet", "resnet18"])
@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_only_what_a_published_command_sets_is_called_published(
    loss: str, network: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    options = main.parse(["--phase=train", f"--loss_type={loss}", f"--network={network}"])
    resolve_loss(options)
    published = PUBLISHED.get((loss, network), {})
    for name in ("margin", "scale"):
        value = getattr(options, name)
        lines = [line for line in caplog.messages if line.startswith(name)]
        assert len(lines) == (value is not None)
        if name in published:
            assert value == published[name]
            assert lines == [f"{name} {value:g}: the published command's for {loss} with {network}"]
        elif lines:
            assert lines == [f"{name} {value:g}: the default of {loss}"]
    assert "paper" not in caplog.text


def test_options_without_a_meaning_for_a_loss_are_not_shown() -> None:
    unused = {
        loss: {n for n in ("margin", "scale", "annealing_step", "lr") if not is_used(n, loss)}
        for loss in LOSSES
    }
    assert unused == {
        "mems": {"scale"},
        "cosface": set(),
        "a-softmax": {"scale"},
        "softmax": {"margin", "scale", "annealing_step"},
    }
    options = main.parse(["--phase=train", "--loss_type=softmax"])
    assert not {"margin", "scale", "annealing_step"} & published_recipe(options).keys()
