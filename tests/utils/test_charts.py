"""Charts: each is written, nothing in a name is a formula, and no two lines look the same."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from utils import charts
from utils.scatter import filling_of, save_scatter, spread

NAMES = ["$\\frac{a", "b_1", "a name that is far too long to be shown whole"]


def size(path: Path) -> tuple[int, int]:
    """Of a picture that shows something."""
    with Image.open(path) as image:
        assert image.format == "PNG" and len(set(image.convert("L").tobytes())) > 20
        return image.size


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder/chart.png"


def test_lines_and_steps(path: Path) -> None:
    lines = {name: ([1, 10, 100], [number, 50, 20]) for number, name in enumerate(NAMES)}
    charts.save_lines(
        lines, path, xlabel="x", ylabel="y", references={"z": ((1, 100), (5, 5))}, log_x=True, percent=True
    )
    assert size(path)[0] == round(charts.WIDTH * charts.DPI)
    bands = {"band": ([-1, 0], [1, 2])}
    charts.save_steps({"a": [0.1, np.nan]}, ["32", "64"], path, xlabel="x", ylabel="y", bands=bands)
    size(path)
    charts.save_steps({"a": [1, 2], "b": [2, 3]}, ["1", "2"], path, xlabel="x", ylabel="y", percent=True)
    size(path)
    assert [each.name for each in path.parent.iterdir()] == ["chart.png"]


def test_charts_of_names_grow_with_them(path: Path) -> None:
    heights = []
    for count in (3, 30):
        values = {f"{NAMES[0]} {number}": 100 / (1 + number) for number in range(count)}
        charts.save_bars(values, path, xlabel="MAP", mean=40, mean_label="mean 40")
        heights.append(size(path)[1])
        charts.save_dots({name: {"a": value} for name, value in values.items()}, path, xlabel="MAP")
        heights.append(size(path)[1])
    assert heights[2] - heights[0] >= 25 * 0.2 * charts.DPI and heights[3] > 2 * heights[1]


@pytest.mark.parametrize("count", [3, 41])
def test_heatmaps_of_few_and_of_many(path: Path, count: int) -> None:
    names = [f"{NAMES[0]} {number}" for number in range(count)]
    charts.save_heatmap(100 * np.eye(count), names, names, path, xlabel="x", ylabel="y", unit="percent")
    width, height = size(path)
    assert 0.7 < width / height < 1.8
    assert height > count * 0.25 * charts.DPI, "room for every label"


def test_histograms_and_maps(path: Path) -> None:
    charts.save_histograms([0, 1, 2], {"a": [60, 40], "b": [0, 100]}, path, xlabel="x", ylabel="y")
    size(path)
    rng = np.random.default_rng(0)
    categories, domains = NAMES * 10, ["photo"] * 15 + ["sketch"] * 15
    save_scatter(rng.standard_normal((30, 2)), categories, domains, path)
    size(path)
    save_scatter(np.zeros((30, 2)), categories, domains, path)  # collapsed features
    size(path)


def test_no_two_lines_and_no_two_fillings_are_the_same() -> None:
    styles = [tuple(charts.style_of(number).values()) for number in range(28)]
    assert len(set(styles)) == 28
    fillings = [str(sorted(filling_of(number).items())) for number in range(21)]
    assert len(set(fillings)) == 21


def test_labels_are_moved_apart() -> None:
    span = np.array([10.0, 10.0])
    crowd = np.array([[5.0, 5.0]] * 6 + [[9.5, 5.0]])
    found = spread(crowd, span)
    assert (np.diff(np.sort(found[:6, 1])) > 0.034 * span[1]).all()
    assert found[:, 0].tolist() == crowd[:, 0].tolist() and found[6].tolist() == [9.5, 5.0]


def test_long_names_are_cut() -> None:
    assert charts.shortened("short") == "short"
    assert len(charts.shortened("x" * 99)) == 24 and charts.shortened("x" * 99).endswith("…")
