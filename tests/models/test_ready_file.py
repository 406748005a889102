"""The network that comes with the program: whole, small, described, and of use on photos it never saw."""

from pathlib import Path

import numpy as np
import pytest
import torch

import main
from benchmarks.ready import ReadyNetwork, mask_unseen
from datasets import PHOTO, SKETCH
from datasets.annotations import load_annotation
from datasets.images import read_image
from models import ready_network
from retrieval.metrics import evaluate
from retrieval.search import feature_rankings
from utils import tensor_files

CARD = ready_network.FILE.with_name("README.md")
SHARED = Path(main.__file__).resolve().parents[1] / "shared"
CATEGORIES = 10


def test_it_is_small_whole_and_in_half_precision() -> None:
    assert ready_network.FILE.stat().st_size <= 10_000_000
    tensors = tensor_files.read(ready_network.FILE)
    floats = [value for value in tensors.values() if value.is_floating_point()]
    assert {value.dtype for value in floats} == {torch.float16}
    assert all(bool(value.isfinite().all()) for value in floats)
    state = ready_network.read_ready()
    assert len(state["categories"]) == 125 == len(state["loss"]["centers"])
    assert state["options"]["network"] == "efficientnet_lite0" and state["options"]["normalize"] is True


def test_the_domain_bit_is_part_of_it() -> None:
    """It does little, as the card says, but not nothing."""
    network = ReadyNetwork().network.eval()
    images = torch.rand(2, 3, 112, 112)
    with torch.inference_mode():
        sketch, photo = (network(images, torch.full((2,), bit)) for bit in (0.0, 1.0))
    assert not torch.allclose(sketch, photo, atol=1e-3)


def test_its_card_says_step_data_and_terms() -> None:
    text = CARD.read_text()
    state = ready_network.read_ready()
    assert f"Step {state['step']:,}" in text
    for needed in ("For research only", "Sketchy", "ImageNet", "chance", "unseen", "--augmentation=strong"):
        assert needed in text, needed
    assert f"--num_steps={state['options']['num_steps']}" in text


@pytest.mark.skipif(not (SHARED / "data/sketchy").is_dir(), reason="no photos of Sketchy in ../shared/data")
def test_it_finds_photos_that_it_never_saw() -> None:
    data = load_annotation(SHARED / "data", SHARED / "anno", "sketchy")
    ready = ReadyNetwork()
    unseen = mask_unseen(data.gallery)
    photos = [entry for entry, new in zip(data.gallery, unseen, strict=True) if new and entry[1] < CATEGORIES]
    sketches = [entry for entry in data.test_sketches if entry[1] < CATEGORIES]
    assert len(photos) == len(sketches) == 5 * CATEGORIES
    gallery = ready.embed_images([read_image(data.root / name, "RGB") for name, _ in photos], PHOTO)
    queries = ready.embed_images([read_image(data.root / name, "L") for name, _ in sketches], SKETCH)
    labels = [np.array([label for _, label in part]) for part in (sketches, photos)]
    found = evaluate(feature_rankings(queries, gallery, *labels, "angular", memory=1 << 28), labels[0])
    assert found.metrics["MAP"] > 55, (found.metrics["MAP"], found.chance["MAP"])
