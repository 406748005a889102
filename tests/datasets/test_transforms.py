"""The published pixels on the deterministic paths, the published statistics on the random one.

And sample by sample, torchvision's own transforms on PIL images: what the published program is made of.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.baselines import published_transforms
from benchmarks.baselines.published_transforms import draw_sketch
from datasets import transforms
from utils.seeding import seeded_rng


def levels(image: np.ndarray) -> np.ndarray:
    """[0, 1] -> 0, 1, ... 255."""
    return np.rint(image * 255)


def noise(width: int, height: int, seed: int, channels: tuple[int, ...] = ()) -> Image.Image:
    """The hardest case: neighbours have nothing in common."""
    values = np.random.default_rng(seed).integers(0, 256, (height, width, *channels), dtype=np.uint8)
    return Image.fromarray(values)


SHAPES = [(1111, 1111), (256, 256), (97, 300), (300, 40), (20, 20)]
THIN = [(3000, 5), (1, 1), (8, 1)]  # no drawing fits


@pytest.mark.parametrize("size", [33, 64, 224])
@pytest.mark.parametrize("source", [draw_sketch, noise])
def test_a_training_sketch_is_the_one_torchvision_makes_of_this_seed(source: Callable, size: int) -> None:
    for seed, shape in enumerate(SHAPES * 3):
        image = source(*shape, seed)
        with seeded_rng(seed):
            expected = published_transforms.sketch_train(size)(image)
        with seeded_rng(seed):
            found = transforms.sketch_train(size)(image)
        assert found.shape == expected.shape
        assert (levels(found.numpy()) == levels(expected.numpy())).all()


def test_erased_squares_and_flips_are_where_torchvision_has_them() -> None:
    image = Image.new("L", (50, 60), 0)
    image.paste(255, (0, 0, 25, 20))
    for seed in range(60):
        with seeded_rng(seed):
            expected = published_transforms.sketch_train(48)(image)
        with seeded_rng(seed):
            found = transforms.sketch_train(48)(image)
        assert (levels(found.numpy()) == levels(expected.numpy())).all()


@pytest.mark.parametrize("size", [32, 33, 64, 100, 224, 299])
def test_what_is_tested_and_searched_equals_the_published_input_to_the_last_bit(size: int) -> None:
    for seed, shape in enumerate(SHAPES + THIN):
        for source in (draw_sketch, noise) if shape in SHAPES else (noise,):
            sketch = source(*shape, seed)
            assert torch.equal(
                transforms.sketch_test(size)(sketch), published_transforms.sketch_test(size)(sketch)
            )
            cached = np.asarray(sketch)  # as --cache_images has it
            assert torch.equal(
                transforms.sketch_test(size)(cached), published_transforms.sketch_test(size)(sketch)
            )
        photo = noise(*shape, seed, (3,))
        expected = published_transforms.photo_test(size)(photo)
        assert torch.equal(transforms.photo_test(size)(photo), expected)
        assert torch.equal(transforms.photo_test(size, "bgr")(photo), expected.flip(0))


@pytest.mark.parametrize("size", [33, 64, 224])
def test_a_training_photo_differs_by_the_order_of_flip_and_resize_alone(size: int) -> None:
    for shape in SHAPES + THIN:
        photo, flips = noise(*shape, 1, (3,)), 0
        for seed in range(6):
            with seeded_rng(seed):
                expected = levels(published_transforms.photo_train(size)(photo).numpy())
            with seeded_rng(seed):
                found = levels(transforms.photo_train(size)(photo).numpy())
            is_flipped = bool((found != levels(transforms.photo_test(size)(photo).numpy())).any())
            error = np.abs(found - expected)
            assert error.max() <= 1 and (error > 0).mean() <= (0.001 if is_flipped else 0)
            flips += is_flipped
        assert shape[0] == 1 or 0 < flips < 6


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
    assert (found == figures[name]).all()


def test_random_sketches_have_the_published_mean_and_spread(golden) -> None:
    figures = golden("transforms")
    image = Image.fromarray(figures["sketch"])
    transform = transforms.sketch_train(int(figures["image_size"]))
    draws = 4000
    total, squares = np.zeros((2, 64, 64))
    for draw in range(draws):
        with seeded_rng(0, draw):
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
        with seeded_rng(draw):
            found = transforms.photo_train(16)(image)
        mirrored = not torch.equal(found, upright)
        assert torch.equal(found.flip(-1) if mirrored else found, upright)
        seen.add(mirrored)
    assert seen == {True, False}


def test_what_is_filled_in_is_paper() -> None:
    paper = Image.new("L", (50, 50), 255)
    for draw in range(20):
        with seeded_rng(draw):
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
        found = make(32, channels, normalize=transforms.IMAGENET)(photo)
        assert torch.allclose(found[:, 5, 5], (red - mean) / std, atol=1e-6)
    for made in (transforms.sketch_test, transforms.sketch_train):
        found = made(32, normalize=transforms.IMAGENET)(sketch)
        assert torch.allclose(found[:, 5, 5], (1 - mean) / std, atol=1e-6)
