"""Configs: frozen, with the published defaults; where margin, scale and input come from."""

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

import main
from datasets.transforms import IMAGENET
from losses import LOSSES, loss_class
from phases.test import report_other_distance
from run.config import (
    NETWORK_FIELDS,
    Config,
    LossConfig,
    config_from_options,
    config_from_stored,
    is_used_by_loss,
    make_config,
    published_recipe,
    require_same_as_checkpoint,
    resolve_input,
    resolve_loss,
    resolve_training,
)
from run.input import input_normalisation
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
    config = resolve_loss(make_config(loss_type=loss, network=network))
    published = PUBLISHED.get((loss, network), {})
    for name in ("margin", "scale"):
        value = config.value(name)
        lines = [line for line in caplog.messages if line.startswith(name)]
        assert len(lines) == (value is not None)
        if name in published:
            assert value == published[name]
            assert lines == [f"{name} {value:g}: the published command's for {loss} with {network}"]
        elif lines:
            assert lines == [f"{name} {value:g}: the default of {loss}"]
    assert "paper" not in caplog.text


@pytest.mark.parametrize("others", [{"network": "resnet18"}, {"attention": "se"}])
def test_dase_in_layer4_is_for_one_network(others: dict[str, str]) -> None:
    config = make_config(dase_layer4=True, **others)
    with pytest.raises(UserError, match="--dase_layer4 needs --network=resnext101 and --attention=dase"):
        resolve_training(config)


def test_a_given_option_must_agree_with_the_checkpoint() -> None:
    path = Path("checkpoint.pt")
    stored = {name: Config().value(name) for name in NETWORK_FIELDS}
    config = make_config(dase_layer4=True, given=frozenset({"dase_layer4"}))
    with pytest.raises(UserError, match="was made with --dase_layer4=False"):
        require_same_as_checkpoint(config, stored, NETWORK_FIELDS, path)
    config = require_same_as_checkpoint(Config(), {**stored, "dase_layer4": True}, NETWORK_FIELDS, path)
    assert config.network.dase_layer4 is True


def test_a_config_cannot_be_changed_and_goes_through_a_record() -> None:
    config = make_config(network="resnet18", margin=2.0, hash_bits=[8, 16], data_path="elsewhere", seed=3)
    for part, name in ((config, "seed"), (config.loss, "margin"), (config.test, "hash_bits")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(part, name, 1)
    stored = json.loads(json.dumps(config.as_dict()))
    assert stored["hash_bits"] == [8, 16] and stored["data_path"] == "elsewhere"
    assert config_from_stored(stored) == config
    assert config.with_values(margin=3.0).loss == LossConfig(margin=3.0) and config.loss.margin == 2.0
    with pytest.raises(TypeError):
        make_config(marign=2.0)


def test_defaults_are_those_of_the_command_line() -> None:
    """The published program's defaults stand in the configs; the options must not say otherwise."""
    config = config_from_options(main.parse([]))
    assert config == Config() and not config.given


def test_a_config_is_that_of_its_options() -> None:
    options = main.parse(["--network=resnet18", "--margin=2", "--hash_bits", "--amp=bf16", "--num_workers=0"])
    config = config_from_options(options)
    assert config == make_config(
        network="resnet18", margin=2.0, hash_bits=(), amp="bf16", num_workers=0, given=frozenset()
    )
    assert config.given == {"network", "margin", "hash_bits", "amp", "num_workers"}


@pytest.mark.parametrize("loss", sorted(LOSSES))
@pytest.mark.parametrize("distance", ["euclidean", "angular"])
def test_a_distance_the_loss_does_not_train_for_is_named(
    loss: str, distance: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    report_other_distance(make_config(loss_type=loss, test_distance=distance))
    own = "euclidean" if loss == "mems" else "angular"
    expected = f"distance {distance}; {loss} trains for the {own} one: --test_distance={own}"
    assert caplog.messages == ([] if distance == own else [expected])


def test_options_without_a_meaning_for_a_loss_are_not_shown() -> None:
    unused = {
        loss: {n for n in ("margin", "scale", "annealing_step", "lr") if not is_used_by_loss(n, loss)}
        for loss in LOSSES
    }
    assert unused == {
        "mems": {"scale"},
        "cosface": set(),
        "a-softmax": {"scale"},
        "softmax": {"margin", "scale", "annealing_step"},
    }
    recipe = published_recipe(make_config(loss_type="softmax"))
    assert not {"margin", "scale", "annealing_step"} & recipe.keys()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"network": "resnet18"}, None),
        ({"network": "resnet18", "normalize": True}, IMAGENET),
        ({"network": "resnext101", "normalize": False}, None),
        ({"network": "efficientnet_lite0"}, ((0.498,) * 3, (0.502,) * 3)),
        ({"network": "efficientnet_lite2", "normalize": True}, ((0.498,) * 3, (0.502,) * 3)),
        ({"network": "efficientnet_lite1", "normalize": False}, None),
        ({"network": "timm:efficientnet_b0"}, IMAGENET),
        ({"network": "timm:tf_mobilenetv3_small_100"}, ((0.5,) * 3, (0.5,) * 3)),
    ],
)
def test_what_is_fed_is_what_the_network_states_unless_told_otherwise(
    given: dict[str, Any], expected: tuple | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    config = resolve_input(make_config(**given))
    assert config.input.normalize is (expected is not None)  # recorded with the run
    assert input_normalisation(config) == expected
    said = [line for line in caplog.messages if line.startswith("input: ")]
    if expected:
        assert said == [
            f"input: normalised by mean {', '.join(f'{value:g}' for value in dict.fromkeys(expected[0]))}, "
            f"standard deviation {', '.join(f'{value:g}' for value in dict.fromkeys(expected[1]))}"
        ]
    assert resolve_input(config) == config


def test_centres_start_with_the_norm_that_is_asked_for(tmp_path: Path) -> None:
    for norm in ("0", "-1", "nan", "inf"):
        with pytest.raises(UserError, match="--center_norm"):
            main.parse(["--phase=train", "--network=resnet18", f"--center_norm={norm}"])
    for given, expected in ((["--center_norm=3"], 3.0), ([], 1.0)):
        config = config_from_options(main.parse(["--phase=train", *given]))
        centers = loss_class("mems")(7, 16, center_norm=config.loss.center_norm).centers
        assert torch.allclose(centers.norm(dim=1), torch.full((7,), expected), atol=1e-5)
