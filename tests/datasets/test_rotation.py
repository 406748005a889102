"""The rotation of ink equals Pillow's."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from datasets.rotation import rotated, rotated_ink


def strokes(size: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    image = Image.new("L", (size, size), 0)
    for _ in range(4):
        ends = rng.uniform(-size / 4, 5 * size / 4, 4)  # also across the border
        ImageDraw.Draw(image).line([*ends], fill=int(rng.integers(1, 256)), width=int(rng.integers(1, 4)))
    return np.asarray(image)


def noise(size: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size), dtype=np.uint8)


def frame(size: int, seed: int) -> np.ndarray:
    """Ink on the border alone, where a pixel comes from inside or does not."""
    ink = np.zeros((size, size), np.uint8)
    ink[[0, -1]] = ink[:, [0, -1]] = 255
    return ink


@pytest.mark.parametrize("draw", [strokes, noise, frame])
@pytest.mark.parametrize("size", [1, 2, 3, 33, 64, 225])
def test_rotation_equals_pillow(draw, size: int) -> None:
    rng = np.random.default_rng(size)
    angles = [0.0, 90.0, -90.0, 45.0, -45.0, 30.0, 1e-4, 89.9999, *rng.uniform(-90, 90, 20)]
    for seed, angle in enumerate(angles):
        ink = draw(size, seed)
        expected = np.asarray(Image.fromarray(ink).rotate(angle, Image.Resampling.BICUBIC)).astype(int)
        found = rotated_ink(ink, angle)
        assert found.dtype == np.uint8 and found.shape == ink.shape
        error = np.abs(found - expected)
        assert error.max() <= 1
        # by a hair's breadth all values lie next to an integer, and which side is cut off is open
        few = error.mean() < 0.01 or size < 33  # of nine pixels, one is more
        assert few or min(abs(angle), 90 - abs(angle)) < 0.001


@pytest.mark.parametrize("size", [64, 225])
def test_small_and_large_ones_can_be_written_to_and_equal_pillow(size: int) -> None:
    ink = strokes(size, 0)
    found = rotated(ink, 33.0)
    expected = np.asarray(Image.fromarray(ink).rotate(33.0, Image.Resampling.BICUBIC)).astype(int)
    assert found.flags.writeable and np.abs(found - expected).max() <= 1


def test_no_ink_stays_none() -> None:
    for turn in (rotated, rotated_ink):
        assert not turn(np.zeros((40, 40), np.uint8), 33.0).any()
