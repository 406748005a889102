"""The demo set is not solved before training: `make demo` has something to show."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import main
from datasets import PHOTO, SKETCH, transforms
from datasets.demo.shapes import CATEGORIES, draw_demo
from datasets.loaders import ImageSet, ordered_batches
from models import build_network, input_normalisation
from models.efficientnet_lite import weights_file
from models.weights import load_pretrained
from options.parser import parse
from retrieval.distances import DISTANCES
from retrieval.embed import embed
from retrieval.metrics import evaluate
from retrieval.search import feature_rankings
from run.config import config_from_options, resolve_training
from utils.files import PROJECT


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "demo"
    draw_demo(root, sketches=4, photos=10, image_size=64)
    return root


def demo_options() -> list[str]:
    """What `make demo` gives a training, beside data and folder."""
    text = (PROJECT / "Makefile").read_text()
    (name,) = re.findall(r"^DEMO_TRAINING := @(.*)$", text, re.MULTILINE)
    return [f"@{PROJECT / name}"]


def test_its_training_is_short_and_from_weights_that_are_installed() -> None:
    options = parse(["--phase=train", "--dataset=demo", *demo_options()])
    config = resolve_training(config_from_options(options))
    assert (config.network.network, config.train.backbone_weights) == ("efficientnet_lite0", "imagenet")
    assert config.train.num_steps <= 300 and config.loss.annealing_step == config.train.num_steps
    assert weights_file(config.network.network).is_file()


@pytest.mark.long
def test_make_demo_has_a_map_above_90_by_either_distance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    common = ["--dataset=demo", "--anno_path=anno"]
    run = [*common, "--save_path=demo"]
    assert main.main(["--phase=prepare", *common]) == 0
    assert main.main(["--phase=train", *run, *demo_options()]) == 0
    assert main.main(["--phase=test", *run, "--test_distance=angular"]) == 0
    records = json.loads(Path("logs/demo/log/result.json").read_text())
    assert {record["distance"] for record in records} == {"euclidean", "angular"}
    assert all(record["metrics"]["MAP"] > 90 for record in records)


@pytest.mark.parametrize(
    ("name", "seed", "most"), [("resnet18", 0, 25), ("resnet18", 1, 25), ("efficientnet_lite0", 0, 35)]
)
def test_an_untrained_network_stays_below(demo: Path, name: str, seed: int, most: float) -> None:
    """At random, or knowing ImageNet alone."""
    torch.manual_seed(seed)
    network = build_network(name, attention="dase", f_dim=64)
    if name == "efficientnet_lite0":
        load_pretrained(network, name, "imagenet")
    features, labels = [], []
    for domain, folder, suffix, count in ((SKETCH, "sketches", "png", 4), (PHOTO, "photos", "jpg", 10)):
        entries = [
            (f"{folder}/{category}/{number:03d}.{suffix}", label)
            for label, category in enumerate(CATEGORIES)
            for number in range(count)
        ]
        make = (transforms.sketch_test, transforms.photo_test)[domain]
        transform = make(64, normalize=input_normalisation(name))
        batches = ordered_batches(ImageSet(demo, entries, domain, transform), 32, workers=0)
        parts = list(embed(network, batches, domain=domain, device=torch.device("cpu")))  # (2, B, 64) each
        features.append(torch.cat(parts, dim=1).numpy().transpose(1, 2, 0))
        labels.append(np.array([label for _, label in entries]))
    for kind in DISTANCES:
        rankings = feature_rankings(*features, *labels, kind, memory=1 << 20)
        found = evaluate(rankings, labels[0])
        assert found.metrics["MAP"] < most
