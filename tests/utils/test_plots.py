"""Charts: the data that they are given are in their axes, names are drawn as they are, no backend matters."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.figures import lines, texts
from utils import plots
from utils.files import PROJECT

pytestmark = pytest.mark.plots
NAMES = ["$\\frac{a", "b_1", "a name that is far too long to be shown whole in a chart"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder/chart.png"


def test_lines_with_their_references(path: Path, figures) -> None:
    data = {name: ([1, 10, 100], [number, 50, 20]) for number, name in enumerate(NAMES)}
    plots.save_lines(
        {"y": data}, path, xlabel="x", title="a title", references={"z": ((1, 100), (5, 5))}, log="x"
    )
    (axis,) = figures["chart"].axes
    assert lines(axis) == {**data, "z": ([1, 100], [5, 5])}
    assert axis.get_xscale() == "log" and axis.get_ylim()[0] == 0
    assert all(name in texts(figures["chart"]) for name in ("a title", *NAMES)), "a dollar is no formula"
    styles = {(line.get_color(), line.get_linestyle()) for line in axis.lines}
    assert len(styles) == 4
    with Image.open(path) as image:
        assert image.format == "PNG" and image.width == round(150 * plots.WIDTH)
    assert [each.name for each in path.parent.iterdir()] == ["chart.png"]


def test_unknown_values_are_gaps_and_negative_ones_stay_in_sight(path: Path, figures) -> None:
    plots.save_lines({"y": {"a": (["32 bits", "64 bits"], [-2.0, None])}, "none": {}}, path, xlabel="x")
    first, second = figures["chart"].axes
    assert np.isnan(lines(first)["a"][1][1]) and first.get_ylim()[0] < -2
    assert lines(second) == {}


def test_steps_are_filled(path: Path, figures) -> None:
    shares = {"a": ([0, 1, 2], [60, 40, 40]), "b": ([0, 1, 2], [0, 100, 100])}
    plots.save_lines({"share": shares}, path, xlabel="x", filled=True)
    (axis,) = figures["chart"].axes
    assert lines(axis) == shares and len(axis.collections) == 2
    assert {line.get_drawstyle() for line in axis.lines} == {"steps-post"}


def test_matched_references_have_the_colours_of_their_lines(path: Path, figures) -> None:
    data = {"a": ([1, 2], [1, 2]), "b": ([1, 2], [2, 3])}
    levels = {"a's": ([1, 2], [9, 9]), "b's": ([1, 2], [8, 8])}
    plots.save_lines({"y": data}, path, xlabel="x", references=levels, matched=True)
    from matplotlib.colors import to_rgb

    style = dict(zip(("C0", "C1"), ("#0072B2", "#D55E00"), strict=True))
    colours = [
        to_rgb(style.get(str(line.get_color()), line.get_color())) for line in figures["chart"].axes[0].lines
    ]
    assert colours[:2] == colours[2:]


def test_points_their_means_and_their_errors(path: Path, figures) -> None:
    rows = {"row": {"a": [10.0, 20.0, 30.0], "b": [40.0]}, NAMES[0]: {"b": [50.0]}, "empty": {"a": []}}
    plots.save_points(rows, path, xlabel="MAP", references={"chance": 5.0}, errors={NAMES[0]: {"b": 2.0}})
    (axis,) = figures["chart"].axes
    drawn = lines(axis)
    assert drawn["a"][0] == [10, 20, 30] and drawn["b"][0] == [40, 50] and drawn["chance"][0] == [5, 5]
    bars = [line for line in axis.lines if list(line.get_xdata()) == [20, 20]]
    assert len(bars) == 1, "a bar at the mean of three values, none at single ones"
    assert axis.get_xlim()[0] == 0 and axis.get_xlim()[1] > 52
    assert [label.get_text() for label in axis.get_yticklabels()] == list(rows)
    (error,) = axis.containers
    assert error.lines[2][0].get_segments()[0][:, 0].tolist() == [48, 52]


def test_single_values_are_written_and_the_chart_grows_with_its_rows(path: Path, figures) -> None:
    heights = []
    for count in (3, 30):
        plots.save_points(
            {f"{NAMES[0]} {n}": {"MAP": [100 / (1 + n)]} for n in range(count)}, path, xlabel="x"
        )
        heights.append(figures["chart"].get_figheight())
    assert heights[1] - heights[0] > 27 * 0.2 and "50.0" in texts(figures["chart"])


@pytest.mark.parametrize("count", [3, 41])
def test_heatmaps_of_few_and_of_many(path: Path, figures, count: int) -> None:
    names = [f"{NAMES[0]} {number}" for number in range(count)]
    plots.save_heatmap(100 * np.eye(count), names, names, path, xlabel="x", ylabel="y", unit="percent")
    axis = figures["chart"].axes[0]
    assert np.array_equal(axis.images[0].get_array(), 100 * np.eye(count))
    numbers = [text.get_text() for text in axis.texts]
    assert numbers == (["100"] * count if count < plots.MAX_ANNOTATED_COLUMNS else [])
    assert figures["chart"].get_figheight() > count * 0.25, "room for every label"


def test_a_map_has_every_point_and_every_name(path: Path, figures) -> None:
    points = np.random.default_rng(0).standard_normal((30, 2))
    plots.save_scatter(points, NAMES * 10, ["photo"] * 15 + ["sketch"] * 15, path)
    axis = figures["chart"].axes[0]
    drawn = np.concatenate([np.asarray(each.get_offsets()) for each in axis.collections])
    assert sorted(map(tuple, drawn[~np.isnan(drawn).any(1)])) == sorted(map(tuple, points))
    assert [text.get_text() for text in axis.texts] == [plots.shorten(name) for name in sorted(NAMES)]
    plots.save_scatter(np.zeros((30, 2)), NAMES * 10, ["photo"] * 15 + ["sketch"] * 15, path)  # collapsed


def test_no_two_groups_are_filled_alike() -> None:
    assert len({str(sorted(plots.fill_style(number).items())) for number in range(21)}) == 21


def test_labels_are_moved_apart() -> None:
    span = np.array([10.0, 10.0])
    crowd = np.array([[5.0, 5.0]] * 6 + [[9.5, 5.0]])
    places = plots.spread_labels(crowd, span)
    assert (np.diff(np.sort(places[:6, 1])) > 0.034 * span[1]).all()
    assert places[:, 0].tolist() == crowd[:, 0].tolist() and places[6].tolist() == [9.5, 5.0]


def test_long_names_are_cut() -> None:
    assert plots.shorten("short") == "short"
    assert len(plots.shorten("x" * 99)) == 24 and plots.shorten("x" * 99).endswith("…")


PROGRAM = (
    "import sys; from pathlib import Path; from utils.plots import save_lines; "
    "save_lines({'日本 \\u05e9': {'a': ([1, 2], [1, 2])}}, Path(sys.argv[1]), xlabel='x')"
)


def draw_elsewhere(path: Path, **environment: str) -> None:
    """Draw a chart in a process of its own, which must say nothing."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, path],
        cwd=PROJECT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and done.stderr == "" and path.is_file()


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "no such backend", "TkAgg"])
def test_a_notebooks_backend_does_not_matter(path: Path, backend: str) -> None:
    draw_elsewhere(path, MPLBACKEND=backend)


def test_settings_and_styles_of_the_user_do_not_matter(path: Path, tmp_path: Path) -> None:
    """Bytes that are no text stand for all that cannot be read."""
    draw_elsewhere(path)
    home = tmp_path / "home"
    (home / "stylelib").mkdir(parents=True)
    for name in ("matplotlibrc", "stylelib/own.mplstyle"):
        (home / name).write_bytes(b"font.size: 40 # \xff")
    again = path.with_name("again.png")
    draw_elsewhere(again, MPLCONFIGDIR=str(home))
    assert again.read_bytes() == path.read_bytes()
