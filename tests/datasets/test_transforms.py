"""The published pixels on the deterministic paths, the published statistics on the random one."""

import numpy as np
import pytest
import torch
from PIL import Image

from datasets import transforms
from utils.seeding import seeded


@pytest.mark.parametrize(
    ("name", "source", "make"),
    [
        ("sketch_test_rgb", "sketch", transforms.sketch_test),
        ("photo_test_sketchy", "photo", transforms.photo_test),
        ("photo_test_TUBerlin", "photo", lambda size: transforms.photo_test(size, "bgr")),
    ],
)
def test_deterministic_paths_equal_the_published_pixels(golden, name: str, source: str, make) -> None:
    figures = golden("transforms")
    found = make(int(figures["image_size"]))(Image.fromarray(figures[source])).numpy()
    assert found.shape == figures[name].shape
    assert np.abs(found - figures[name]).max() * 255 <= 1


def test_random_sketches_have_the_published_mean_and_spread(golden) -> None:
    figures = golden("transforms")
    image = Image.fromarray(figures["sketch"])
    transform = transforms.sketch_train(int(figures["image_size"]))
    draws = 4000
    total, squares = np.zeros((2, 64, 64))
    for draw in range(draws):
        with seeded(0, draw):
            pixels = transform(image)[0].double().numpy()
        total += pixels
        squares += pixels**2
    mean = total / draws
    spread = np.sqrt(np.maximum(squares / draws - mean**2, 0))
    expected_mean = figures["sketch_train_mean_image"]
    expected_spread = figures["sketch_train_std_image"]
    # both means are of 4,000 draws; 5 standard errors leave room for 4,096 pixels
    error = np.sqrt((spread**2 + expected_spread**2) / draws)
    assert (np.abs(mean - expected_mean) <= 5 * error + 1e-3).all()
    assert abs(mean.mean() - expected_mean.mean()) < 2e-3
    assert np.abs(spread - expected_spread).max() < 0.05
    assert abs(spread.mean() - expected_spread.mean()) < 2e-3


def test_photo_training_is_the_test_path_or_its_mirror() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8))
    upright = transforms.photo_test(16)(image)
    seen = set()
    for draw in range(20):
        with seeded(draw):
            found = transforms.photo_train(16)(image)
        mirrored = not torch.allclose(found, upright, atol=1 / 255)
        assert torch.allclose(found.flip(-1) if mirrored else found, upright, atol=1.5 / 255)
        seen.add(mirrored)
    assert seen == {True, False}


def test_what_is_filled_in_is_paper() -> None:
    paper = Image.new("L", (50, 50), 255)
    for draw in range(20):
        with seeded(draw):
            assert (transforms.sketch_train(32)(paper) == 1).all()


def test_shapes_and_ranges() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 70), dtype=np.uint8))
    for make in (transforms.sketch_train, transforms.sketch_test):
        found = make(65)(image)
        assert found.shape == (3, 65, 65) and found.dtype == torch.float32
        assert 0 <= float(found.min()) <= float(found.max()) <= 1
        assert torch.equal(found[0], found[2])


@pytest.mark.parametrize("channels", ["rgb", "bgr"])
def test_normalised_input_is_that_of_imagenet_by_position(channels: str) -> None:
    photo, sketch = Image.new("RGB", (40, 40), (255, 0, 0)), Image.new("L", (40, 40), 255)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    red = torch.tensor([1.0, 0.0, 0.0] if channels == "rgb" else [0.0, 0.0, 1.0])
    for make in (transforms.photo_test, transforms.photo_train):
        found = make(32, channels, normalize=True)(photo)
        assert torch.allclose(found[:, 5, 5], (red - mean) / std, atol=1e-6)
    for make in (transforms.sketch_test, transforms.sketch_train):
        found = make(32, normalize=True)(sketch)
        assert torch.allclose(found[:, 5, 5], (1 - mean) / std, atol=1e-6)
