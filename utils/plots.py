"""Plots as PNG files in the style of plots.mplstyle, readable without colour vision.

They are drawn by matplotlib's Agg backend, without pyplot and whatever MPLBACKEND says. At `WIDTH` inches, a
font of 10 points is 10 pixels high on a screen 400 pixels wide.
"""

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from utils.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLE = Path(__file__).with_name("plots.mplstyle")
WIDTH, HEIGHT = 5.6, 3.4  # inches
INK, FAINT = "#202020", "#707070"
MARKERS = "osD^vP*"
NUM_COLOURS = 7  # in the style's cycle, as "C0" to "C6"
MAX_ANNOTATED_COLUMNS = 16  # a heatmap with more columns has no room for numbers
Line = tuple[Sequence[float] | Sequence[str], Sequence[float | None]]  # x, y; None where y is unknown


def import_matplotlib() -> Any:
    """Import matplotlib without MPLBACKEND and without the user's matplotlibrc.

    Its import fails if MPLBACKEND names a backend that is not installed, which subprocesses of a notebook
    inherit, or if the matplotlibrc cannot be read.
    """
    variables = {name: os.environ.pop(name, None) for name in ("MPLBACKEND", "MATPLOTLIBRC")}
    os.environ["MATPLOTLIBRC"] = str(STYLE)
    try:
        import matplotlib
    finally:
        del os.environ["MATPLOTLIBRC"]
        os.environ.update({name: value for name, value in variables.items() if value is not None})
    return matplotlib


@contextmanager
def new_figure(
    path: Path, width: float = WIDTH, height: float = HEIGHT, title: str = ""
) -> Iterator["Figure"]:
    """A figure of `width` x `height` inches, which is saved to `path` as a PNG when the block ends."""
    matplotlib = import_matplotlib()  # slow, so only when something is drawn
    from matplotlib.figure import Figure

    style = dict(matplotlib.rc_params_from_file(STYLE))
    del style["backend"]
    # not rc_context(fname=STYLE): that also reads the user's own styles, which may be unreadable
    with matplotlib.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # names may be in any script
        figure = Figure(figsize=(width, height + 0.17 * title.count("\n")))
        if title:
            figure.suptitle(title)
        yield figure
        with atomic_write(path) as temporary:
            figure.savefig(temporary, format="png", backend="agg")


def save_lines(
    panels: Mapping[str, Mapping[str, Line]],
    path: Path,
    *,
    xlabel: str,
    title: str = "",
    references: Mapping[str, Line] | None = None,
    matched: bool = False,
    log: str = "",
    percent: bool = False,
    markers: bool = False,
    filled: bool = False,
) -> None:
    """Line plots side by side: `panels` maps each y label to its lines by name.

    `references` are thin lines in the first panel: grey, or if `matched` dotted in the colours of the lines.
    `log` names the logarithmic axes, as in "xy". `percent` fixes the y axis to 0 to 100. `filled` draws a
    histogram: y[i] from x[i] to x[i + 1], with the area below.
    """
    width = WIDTH if len(panels) == 1 else 1 + 3.4 * len(panels)
    with new_figure(path, width, title=title) as figure:
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for axis, (ylabel, lines) in zip(axes, panels.items(), strict=True):
            for number, (label, (x, values)) in enumerate(lines.items()):
                y = np.array(values, dtype=float)
                marker = MARKERS[number % len(MARKERS)] if markers or len(x) == 1 else None
                style = {"drawstyle": "steps-post"} if filled else {}
                axis.plot(x, y, label=label, marker=marker, markersize=max(3, 6 - 0.5 * number), **style)
                if filled:
                    axis.fill_between(x, y, step="post", alpha=0.2, linewidth=0)
            axis.set(xlabel=xlabel, ylabel=ylabel)
            for name in log:
                axis.set(**{f"{name}scale": "log"})
                side = getattr(axis, f"{name}axis")
                side.set_major_formatter(lambda value, _: f"{value:,.10g}")
                side.set_minor_formatter(lambda value, _: "")
        for number, (label, (x, values)) in enumerate((references or {}).items()):
            colour = f"C{number % NUM_COLOURS}" if matched else FAINT
            dashes = ":" if matched else (":", "--")[number % 2]
            axes[0].plot(x, values, label=label, color=colour, linestyle=dashes, linewidth=1.3)
        for axis in axes:
            set_limits(axis, percent=percent, log="y" in log)
        if len(axes[0].lines) > 1:
            add_legend(figure, axes[0])


def set_limits(axis: "Axes", *, percent: bool, log: bool) -> None:
    """Let y start at 0 unless it is logarithmic or some of it is negative."""
    drawn = [np.asarray(line.get_ydata(), dtype=float) for line in axis.lines]
    lowest = min((float(np.nanmin(y)) for y in drawn if not np.isnan(y).all()), default=0)
    if percent:
        axis.set(ylim=(0, 102))
    elif not log and lowest >= 0:
        axis.set_ylim(bottom=0)


def add_legend(figure: "Figure", axis: "Axes") -> None:
    """Add the legend below the plot, where it hides nothing; long names get a row each."""
    handles, labels = axis.get_legend_handles_labels()
    columns = 1 if max(map(len, labels), default=0) > 28 else 2
    figure.legend(handles, labels, loc="outside lower center", ncols=min(columns, len(labels)))


def save_points(
    rows: Mapping[str, Mapping[str, Sequence[float]]],
    path: Path,
    *,
    xlabel: str,
    title: str = "",
    references: Mapping[str, float] | None = None,
    errors: Mapping[str, Mapping[str, float]] | None = None,
) -> None:
    """A dot plot: a line per row, with a colour and marker for each label.

    Several values of one label get a bar at their mean. With a single label, a single value is printed beside
    its point. `references` are vertical lines; `errors[row][label]` is half the length of an error bar.
    """
    labels = list(dict.fromkeys(label for values in rows.values() for label in values))
    apart = len(rows) * len(labels) <= 60  # with more, all labels of a row share a line
    pitch = 0.24 + (0.09 * len(labels) if apart else 0)
    with new_figure(path, WIDTH, 1.5 + pitch * len(rows) + 0.11 * len(labels), title) as figure:
        axis = figure.subplots()
        for number, label in enumerate(labels):
            colour, marker = f"C{number % NUM_COLOURS}", MARKERS[number % len(MARKERS)]
            shift = 0.7 * ((number + 0.5) / len(labels) - 0.5) if apart else 0
            labelled = [(row, values[label]) for row, values in enumerate(rows.values()) if label in values]
            points = [(value, row + shift) for row, values in labelled for value in values]
            x, y = zip(*points, strict=True) if points else ((), ())
            axis.plot(
                x, y, marker, color=colour, label=label, alpha=0.85, markeredgewidth=0, linestyle="none"
            )
            for row, values in labelled:
                if len(values) > 1:
                    ends = (row + shift - 0.14, row + shift + 0.14)
                    axis.plot([np.mean(values)] * 2, ends, color=colour, linestyle="-")
                elif values and len(labels) == 1:
                    axis.annotate(
                        f"{values[0]:.1f}", (values[0], row), (6, 0), textcoords="offset points", va="center"
                    )
            for row, name in enumerate(rows):
                if label in (errors or {}).get(name, {}):
                    value, error = rows[name][label][0], errors[name][label]  # type: ignore[index]
                    axis.errorbar(value, row + shift, xerr=error, color=colour, capsize=3)
        for number, (label, value) in enumerate((references or {}).items()):
            axis.axvline(value, label=label, color=INK, linestyle=(":", "--")[number % 2], linewidth=1.3)
        axis.set(xlabel=xlabel, yticks=range(len(rows)), yticklabels=[shorten(name, 40) for name in rows])
        axis.set_ylim(len(rows) - 0.4, -0.6)
        axis.set_xlim(left=0)
        axis.margins(x=0.1)
        if len(axis.get_legend_handles_labels()[1]) > 1:
            add_legend(figure, axis)


def save_heatmap(
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    path: Path,
    *,
    xlabel: str,
    ylabel: str,
    unit: str,
) -> None:
    """A heatmap of `values` (rows, columns) in percent, darker for more, with numbers if there is room."""
    matplotlib = import_matplotlib()
    annotated = len(columns) <= MAX_ANNOTATED_COLUMNS
    side = 0.42 if annotated else 0.26  # inches
    size = max(WIDTH, 2.8 + side * len(columns)), max(HEIGHT, 1.6 + side * len(rows))
    with new_figure(path, *size) as figure:
        axis = figure.subplots()
        scale = matplotlib.colors.PowerNorm(
            0.5, vmin=0, vmax=100
        )  # by the square root, so that small shares are visible
        image = axis.imshow(values, cmap="Blues", norm=scale, aspect="auto")
        axis.set_xticks(range(len(columns)), [shorten(name) for name in columns], rotation=90)
        axis.set_yticks(range(len(rows)), [shorten(name) for name in rows])
        axis.set(xlabel=xlabel, ylabel=ylabel)
        axis.grid(visible=False)
        for (row, column), value in np.ndenumerate(values):
            if annotated and value >= 0.5:
                colour = "white" if value > 30 else INK
                axis.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=9, color=colour)
        figure.colorbar(image, shrink=0.8, label=unit)


def save_scatter(points: np.ndarray, groups: Sequence[str], kinds: Sequence[str], path: Path) -> None:
    """A scatter plot of `points` (N, 2): colour and filling show the group, the marker shows the kind.

    The name of a group is placed above the middle of its points of the first kind.
    """
    import_matplotlib()
    from matplotlib.patheffects import withStroke

    names = sorted(set(groups))
    markers = dict(zip(dict.fromkeys(kinds), (("o", 20), ("^", 44)), strict=False))  # marker and its size
    of_group, of_kind = np.array(groups), np.array(kinds)
    span = np.ptp(points, axis=0) + 1e-9
    with new_figure(path, 7.2, 8.2) as figure:
        axis = figure.subplots()
        tops = []
        for number, name in enumerate(names):
            own = of_group == name
            for kind, (marker, size) in markers.items():
                label = shorten(name) if kind == kinds[0] else None
                x, y = points[own & (of_kind == kind)].T
                axis.scatter(x, y, marker=marker, s=size, label=label, **fill_style(number))
            middle = np.median(points[own & (of_kind == kinds[0])], axis=0)
            around = points[own & (np.abs(points - middle) < 0.08 * span).all(axis=1)]
            tops.append((middle[0], around[:, 1].max(initial=middle[1]) + 0.03 * span[1]))
        places = spread_labels(np.array(tops), span)
        for name, (x, y) in zip(names, places, strict=True):
            text = axis.text(x, y, shorten(name), ha="center", va="center", weight="bold")
            text.set_path_effects([withStroke(linewidth=3, foreground="white")])
        shapes = [axis.scatter([], [], marker=marker, s=36, color=FAINT) for marker, _ in markers.values()]
        axis.legend(shapes, list(markers), loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
        heights = np.concatenate([points[:, 1], places[:, 1]])
        edge = 0.05 * span[1]
        axis.set(xticks=[], yticks=[], ylim=(heights.min() - edge, heights.max() + edge))
        axis.margins(x=0.1)
        axis.spines[:].set_visible(True)
        figure.legend(loc="outside lower center", ncols=4)


def fill_style(number: int) -> dict[str, Any]:
    """How the points of group `number` are filled; the first 21 groups all look different."""
    colour, turn = f"C{number % NUM_COLOURS}", number // NUM_COLOURS % 3
    if turn == 0:
        return {"color": colour, "linewidth": 0, "alpha": 0.85}
    if turn == 1:
        return {"facecolor": "white", "edgecolor": colour, "linewidth": 1.3}
    return {"facecolor": (colour, 0.45), "edgecolor": INK, "linewidth": 0.9}


def spread_labels(places: np.ndarray, span: np.ndarray) -> np.ndarray:
    """Move labels with centres `places` (n, 2) up and down until none overlap; returns the new centres.

    `span` (2,) is the width and height of the plot in the same unit.
    """
    width, height = 0.2 * span[0], 0.035 * span[1]
    places = places.copy()
    for _ in range(200):
        moved = False
        for one in range(len(places)):
            for other in range(one):
                gap = places[one] - places[other]
                if abs(gap[0]) < width and abs(gap[1]) < height:
                    upper, lower = (one, other) if gap[1] >= 0 else (other, one)
                    push = (1.001 * height - abs(gap[1])) / 2
                    places[upper, 1] += push
                    places[lower, 1] -= push
                    moved = True
        if not moved:
            break
    return places


def shorten(name: str, length: int = 24) -> str:
    """Cut `name` to `length` characters, with an ellipsis."""
    return name if len(name) <= length else name[: length - 1] + "…"
