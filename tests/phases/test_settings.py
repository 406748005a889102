"""Defaults of margin and scale: the log says where each comes from, and few are the published commands'."""

import logging
from pathlib import Path

import pytest

import main
from losses import LOSSES
from phases.settings import (
    NETWORK_OPTIONS,
    adopt,
    is_used,
    published_recipe,
    resolve_loss,
    resolve_training,
)
from phases.test import name_other_distance
from utils.errors import UserError

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


@pytest.mark.parametrize("others", [["--network=resnet18"], ["--attention=se"]])
def test_dase_in_layer4_is_for_one_network(others: list[str]) -> None:
    options = main.parse(["--phase=train", "--dase_layer4", *others])
    with pytest.raises(UserError, match="--dase_layer4 needs --network=resnext101 and --attention=dase"):
        resolve_training(options)


def test_checkpoints_from_before_an_option_have_its_default() -> None:
    options = main.parse(["--phase=test", "--dase_layer4"])
    before = {name: getattr(options, name) for name in NETWORK_OPTIONS if name != "dase_layer4"}
    with pytest.raises(UserError, match="was made with --dase_layer4=False"):
        adopt(options, before, NETWORK_OPTIONS, Path("checkpoint.pt"))
    options = main.parse(["--phase=test"])
    adopt(options, before, NETWORK_OPTIONS, Path("checkpoint.pt"))
    assert options.dase_layer4 is False


@pytest.mark.parametrize("loss", sorted(LOSSES))
@pytest.mark.parametrize("distance", ["euclidean", "angular"])
def test_a_distance_the_loss_does_not_train_for_is_named(
    loss: str, distance: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    name_other_distance(main.parse([f"--loss_type={loss}", f"--test_distance={distance}"]))
    own = "euclidean" if loss == "mems" else "angular"
    expected = f"distance {distance}; {loss} trains for the {own} one: --test_distance={own}"
    assert caplog.messages == ([] if distance == own else [expected])


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
