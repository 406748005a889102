"""Defaults of margin and scale: the log says where each comes from, and few are the published commands'."""

import logging
from pathlib import Path

import pytest
import torch

import main
from datasets.transforms import IMAGENET
from losses import LOSSES, loss_class
from options.parser import parse_values
from phases.settings import (
    NETWORK_OPTIONS,
    adopt,
    input_normalisation,
    is_used,
    published_recipe,
    resolve_input,
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


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--network=resnet18"], None),
        (["--network=resnet18", "--normalize"], IMAGENET),
        (["--network=resnext101", "--no-normalize"], None),
        (["--network=efficientnet_lite0"], ((0.498,) * 3, (0.502,) * 3)),
        (["--network=efficientnet_lite2", "--normalize"], ((0.498,) * 3, (0.502,) * 3)),
        (["--network=efficientnet_lite1", "--no-normalize"], None),
        (["--network=timm:efficientnet_b0"], IMAGENET),
        (["--network=timm:tf_mobilenetv3_small_100"], ((0.5,) * 3, (0.5,) * 3)),
    ],
)
def test_what_is_fed_is_what_the_network_states_unless_told_otherwise(
    given: list[str], expected: tuple | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    options = main.parse(["--phase=train", *given])
    resolve_input(options)
    assert options.normalize is (expected is not None)  # recorded with the run
    assert input_normalisation(options) == expected
    said = [line for line in caplog.messages if line.startswith("input: ")]
    if expected:
        assert said == [
            f"input: normalised by mean {', '.join(f'{value:g}' for value in dict.fromkeys(expected[0]))}, "
            f"standard deviation {', '.join(f'{value:g}' for value in dict.fromkeys(expected[1]))}"
        ]
    again = parse_values({"phase": "train", "network": options.network, "normalize": options.normalize})
    resolve_input(again)
    assert again.normalize is options.normalize


def test_centres_start_with_the_norm_that_is_asked_for(tmp_path: Path) -> None:
    for norm in ("0", "-1", "nan", "inf"):
        with pytest.raises(UserError, match="--center_norm"):
            main.parse(["--phase=train", "--network=resnet18", f"--center_norm={norm}"])
    for given, expected in ((["--center_norm=3"], 3.0), ([], 1.0)):
        options = main.parse(["--phase=train", *given])
        centers = loss_class("mems")(7, 16, center_norm=options.center_norm).centers
        assert torch.allclose(centers.norm(dim=1), torch.full((7,), expected), atol=1e-5)
