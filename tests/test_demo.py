"""The demo set is not solved before training: `make demo` has something to show."""

from pathlib import Path

import numpy as np
import pytest
import torch

from datasets import PHOTO, SKETCH, transforms
from datasets.loaders import ImageSet, ordered_batches
from datasets.shapes import CATEGORIES, draw_demo
from models import build_network
from retrieval.distances import DISTANCES
from retrieval.embed import embed
from retrieval.metrics import evaluate
from retrieval.search import feature_rankings


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "demo"
    draw_demo(root, sketches=4, photos=10, image_size=64)
    return root


@pytest.mark.parametrize("seed", [0, 1])
def test_an_untrained_network_stays_below_25(demo: Path, seed: int) -> None:
    torch.manual_seed(seed)
    network = build_network("resnet18", attention="dase", f_dim=64)
    features, labels = [], []
    for domain, folder, suffix, count in ((SKETCH, "sketches", "png", 4), (PHOTO, "photos", "jpg", 10)):
        entries = [
            (f"{folder}/{category}/{number:03d}.{suffix}", label)
            for label, category in enumerate(CATEGORIES)
            for number in range(count)
        ]
        transform = (transforms.sketch_test, transforms.photo_test)[domain](64)
        batches = ordered_batches(ImageSet(demo, entries, domain, transform), 32, workers=0)
        parts = list(embed(network, batches, domain=domain, device=torch.device("cpu")))  # (2, B, 64) each
        features.append(torch.cat(parts, dim=1).numpy().transpose(1, 2, 0))
        labels.append(np.array([label for _, label in entries]))
    for kind in DISTANCES:
        rankings = feature_rankings(*features, *labels, kind, memory=1 << 20)
        found = evaluate(rankings, labels[0])
        assert found.metrics["MAP"] < 25
