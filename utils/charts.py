"""Charts for the page of a report, as PNGs: legible on a phone, and told apart without seeing colours.

At `WIDTH` inches a font of 10 points is 10 pixels on a screen that is 400 pixels wide. Lines differ in
colour, dash and marker. Names are drawn as they are: a dollar sign starts no formula.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from utils.figures import FAINT, INK, PALETTE
from utils.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = (*PALETTE, "#56B4E9", "#E69F00")  # Okabe and Ito's, but for yellow, which white paper swallows
DASHES = ("-", "--", "-.", ":")
MARKERS = "osD^vP*"
WRITTEN = 16  # columns of a heatmap that has room for its values as text
WIDTH, HEIGHT, DPI = 5.6, 3.4, 150  # inches, and dots per inch
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 10,
    "legend.fontsize": 9,
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}
Line = tuple[Sequence[float], Sequence[float]]  # x, y


@contextmanager
def styled() -> Iterator[None]:
    """The style of the page for whatever is drawn inside."""
    from matplotlib import rc_context  # slow to import

    with rc_context(STYLE):
        yield


@contextmanager
def drawing(path: Path, width: float = WIDTH, height: float = HEIGHT) -> Iterator["Figure"]:
    """A figure of so many inches, in the style of the page, that is written to `path` as a PNG."""
    from matplotlib.figure import Figure

    with styled():
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png", dpi=DPI)


def style_of(number: int) -> dict[str, Any]:
    """Colour and dash of the line number `number`: no two of the first 28 are the same."""
    dash = (number % len(COLOURS) + number // len(COLOURS)) % len(DASHES)
    return {"color": COLOURS[number % len(COLOURS)], "linestyle": DASHES[dash]}


def save_lines(
    lines: Mapping[str, Line],
    path: Path,
    *,
    xlabel: str,
    ylabel: str,
    references: Mapping[str, Line] | None = None,
    log_x: bool = False,
    percent: bool = False,
) -> None:
    """Lines by label, and thin grey ones of `references`, from 0 on; `percent` ends the y axis at 100."""
    with drawing(path) as figure:
        axis = figure.subplots()
        for number, (label, (x, y)) in enumerate(lines.items()):
            marker = "o" if len(x) == 1 else None  # a line of one point cannot be seen
            axis.plot(x, y, label=label, marker=marker, **style_of(number))
        for number, (label, (x, y)) in enumerate((references or {}).items()):
            axis.plot(x, y, label=label, color=FAINT, linewidth=1, linestyle=(":", "--")[number % 2])
        axis.set(xlabel=xlabel, ylabel=ylabel)
        axis.grid()
        if log_x:
            axis.set_xscale("log")
            axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axis.xaxis.set_minor_formatter(lambda value, _: "")
        axis.set_ylim(bottom=0)
        if percent:
            axis.set_ylim(0, 102)
        else:
            axis.ticklabel_format(axis="y", scilimits=(-3, 4))
        if len(lines) + len(references or {}) > 1:
            legend_below(figure, axis)


def legend_below(figure: "Figure", axis: "Axes") -> None:
    """The legend under the chart, where it hides nothing; long names take a row each."""
    handles, labels = axis.get_legend_handles_labels()
    columns = 1 if max(map(len, labels)) > 28 else 2
    figure.legend(handles, labels, loc="outside lower center", ncols=min(columns, len(labels)))


def save_bars(values: dict[str, float], path: Path, *, xlabel: str, mean: float, mean_label: str) -> None:
    """A bar for each name, in the order given, from 0 to 100 percent, with its value; a line at `mean`."""
    with drawing(path, height=1.2 + 0.22 * len(values)) as figure:
        axis = figure.subplots()
        places = range(len(values))
        axis.barh(places, list(values.values()), color=COLOURS[0], height=0.7)
        for place, value in zip(places, values.values(), strict=True):
            text = axis.text(value + 1, place, f"{value:.1f}", va="center", fontsize=9, color=INK)
            text.set_bbox({"facecolor": "white", "linewidth": 0, "pad": 0.5})  # over the line of the mean
        axis.axvline(mean, color=COLOURS[1], linestyle="--", linewidth=1.5, label=mean_label)
        axis.set(xlabel=xlabel, xlim=(0, 112), xticks=range(0, 101, 20))
        axis.set_yticks(places, [shortened(name) for name in values], fontsize=9)
        axis.set_ylim(len(values) - 0.4, -0.6)
        axis.grid(axis="x")
        legend_below(figure, axis)


def save_dots(rows: dict[str, dict[str, float]], path: Path, *, xlabel: str) -> None:
    """One line per name, with a dot of its own colour and marker for each label, from 0 to 100 percent."""
    labels = list(dict.fromkeys(label for values in rows.values() for label in values))
    with drawing(path, height=1.4 + 0.26 * len(rows) + 0.11 * len(labels)) as figure:
        axis = figure.subplots()
        for number, label in enumerate(labels):
            places = [place for place, values in enumerate(rows.values()) if label in values]
            found = [values[label] for values in rows.values() if label in values]
            marker = MARKERS[number % len(MARKERS)]
            axis.plot(found, places, marker, color=COLOURS[number % len(COLOURS)], label=label, alpha=0.85)
        axis.set(xlabel=xlabel, xlim=(-2, 102))
        axis.set_yticks(range(len(rows)), [shortened(name) for name in rows], fontsize=9)
        axis.set_ylim(len(rows) - 0.5, -0.5)
        axis.grid()
        legend_below(figure, axis)


def save_heatmap(
    values: np.ndarray,
    rows: list[str],
    columns: list[str],
    path: Path,
    *,
    xlabel: str,
    ylabel: str,
    unit: str,
) -> None:
    """Values (rows, columns) in percent as shades, the darker the more; written out where there is room."""
    from matplotlib.colors import PowerNorm

    written = len(columns) <= WRITTEN
    side = 0.42 if written else 0.26  # inches
    size = max(WIDTH, 2.8 + side * len(columns)), max(HEIGHT, 1.6 + side * len(rows))
    with drawing(path, *size) as figure:
        axis = figure.subplots()
        shades = PowerNorm(0.5, vmin=0, vmax=100)  # by the square root: small shares can be seen
        image = axis.imshow(values, cmap="Blues", norm=shades, aspect="auto")
        axis.set_xticks(range(len(columns)), [shortened(name) for name in columns], rotation=90, fontsize=9)
        axis.set_yticks(range(len(rows)), [shortened(name) for name in rows], fontsize=9)
        axis.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
        axis.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
        axis.grid(which="minor", color=FAINT, alpha=0.25)
        axis.tick_params(which="minor", length=0)
        axis.set(xlabel=xlabel, ylabel=ylabel)
        for (row, column), value in np.ndenumerate(values):
            if written and value >= 0.5:
                colour = "white" if value > 30 else INK
                axis.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=9, color=colour)
        figure.colorbar(image, shrink=0.8, label=unit)


def save_histograms(
    edges: Sequence[float], shares: Mapping[str, Sequence[float]], path: Path, *, xlabel: str, ylabel: str
) -> None:
    """One outline per label over bins with `edges`, filled with a pale colour."""
    with drawing(path) as figure:
        axis = figure.subplots()
        for number, (label, values) in enumerate(shares.items()):
            style = style_of(number)
            axis.stairs(values, edges, label=label, linewidth=1.8, **style)
            axis.stairs(values, edges, fill=True, color=style["color"], alpha=0.2)
        axis.set(xlabel=xlabel, ylabel=ylabel)
        axis.set_ylim(bottom=0)
        axis.grid()
        legend_below(figure, axis)


def save_steps(
    series: Mapping[str, Sequence[float]],
    names: Sequence[str],
    path: Path,
    *,
    xlabel: str,
    ylabel: str,
    references: Mapping[str, float] | None = None,
    bands: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
    percent: bool = False,
) -> None:
    """Values at named places, one marker and line per label; `references` are level lines, `bands` ranges."""
    with drawing(path) as figure:
        axis = figure.subplots()
        x = np.arange(len(names))
        for number, (label, (low, high)) in enumerate((bands or {}).items()):
            axis.fill_between(x, low, high, color=COLOURS[number], alpha=0.2, linewidth=0, label=label)
            axis.axhline(0, color=FAINT, linewidth=1)
        for number, (label, values) in enumerate(series.items()):
            marker: dict[str, Any] = {
                "marker": MARKERS[number % len(MARKERS)],
                "markersize": max(3, 8 - 1.5 * number),
            }
            axis.plot(
                x, values, label=label, **marker, **style_of(number)
            )  # equal values: one inside another
            if percent and len(series) == 1:
                for place, value in zip(x, values, strict=True):
                    axis.annotate(
                        f"{value:.1f}", (place, value), (0, 8), textcoords="offset points", ha="center"
                    )
        for number, (label, value) in enumerate((references or {}).items()):
            style = style_of(number) if len(series) > 1 else {"color": FAINT}
            axis.axhline(value, label=label, **{**style, "linestyle": ":", "linewidth": 1.3})
        shown = slice(None, None, max(1, len(names) // 12))
        axis.set_xticks(x[shown], list(names)[shown])
        axis.set(xlabel=xlabel, ylabel=ylabel, xlim=(-0.5, len(names) - 0.5))
        axis.grid()
        if percent:
            axis.set(ylim=(0, 112), yticks=range(0, 101, 20))
        elif not bands:
            axis.set_ylim(bottom=0)
        legend_below(figure, axis)


def shortened(name: str, length: int = 24) -> str:
    """`name`, cut to `length` characters with an ellipsis."""
    return name if len(name) <= length else name[: length - 1] + "…"
