"""How much of a rectangle a shape is, upright or turned."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from datasets.paper import measure_rectangularity


def shape(*corners: tuple[int, int]) -> np.ndarray:
    image = Image.new("1", (120, 120))
    ImageDraw.Draw(image).polygon(corners, fill=1)
    return np.asarray(image)


def test_rectangles_fill_theirs_also_when_turned() -> None:
    assert measure_rectangularity(shape((10, 20), (100, 20), (100, 60), (10, 60))) == pytest.approx(
        1, abs=0.01
    )
    assert measure_rectangularity(shape((60, 10), (110, 60), (60, 110), (10, 60))) > 0.96


def test_a_triangle_fills_half_and_what_lies_on_one_line_nothing() -> None:
    assert measure_rectangularity(shape((10, 10), (110, 10), (10, 110))) == pytest.approx(0.5, abs=0.02)
    for points in ([(5, 5)], [(5, 5), (5, 90)], [(10, 10), (20, 20), (30, 30), (40, 40)]):
        mask = np.zeros((120, 120), dtype=bool)
        mask[tuple(np.transpose(points))] = True
        assert measure_rectangularity(mask) == 0
