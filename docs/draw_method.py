"""Draw docs/method.svg: a DASE module, and the boundary that MEMS puts between two class centres.

python docs/draw_method.py            writes docs/method.svg; needs matplotlib only
python docs/draw_method.py FILE       writes FILE instead: .svg, .png or .pdf
"""

import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Polygon, Rectangle

INK, FAINT, LINE = "#1f2328", "#59636e", "#8c959f"
BLUE, ORANGE, GREEN = "#0969da", "#bc4c00", "#1a7f37"
STYLE = {
    "font.family": "DejaVu Sans",
    "mathtext.fontset": "dejavuserif",
    "font.size": 9,
    "text.color": INK,
    "svg.fonttype": "path",  # looks the same wherever it is shown
    "svg.hashsalt": "method",  # the same file on every run
}
WIDTH, HEIGHT = 8.85, 4.6  # inches: 850 pixels wide, as a README is
LARGEST = 2 + 3**0.5  # from this margin on distances inside a class are below those between classes
TOP = 118 * HEIGHT / (0.515 * WIDTH)  # of a panel that is 118 wide
CENTERS = np.array([[0.0, 0.0], [1.0, 0.0]])  # of the target's class and of the other one, D = 1 apart


def draw(path: Path) -> None:
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(WIDTH, HEIGHT), facecolor="white")
        draw_module(figure.add_axes((0.0, 0.0, 0.515, 1.0)))
        draw_boundary(figure.add_axes((0.525, 0.0, 0.475, 1.0)))
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, dpi=200, metadata=metadata)
        plt.close(figure)


# ---------------------------------------------------------------------------------------- the DASE module


def draw_module(axes: Any) -> None:
    """x -> average of each channel -> fc1 -> [z ; d] -> fc2 -> gates -> x, channel by channel."""
    axes.set(xlim=(0, 118), ylim=(0, TOP), aspect="equal")
    axes.axis("off")
    title(axes, 3, "A DASE module", "one set of weights for both domains, told apart by one bit")
    gates = (0.95, 0.35, 0.7, 0.15, 0.85)

    draw_maps(axes, 4, 68, (1.0,) * 5, LINE)
    axes.text(5, 96, "feature maps $x$", ha="left", va="center", fontsize=9)
    axes.text(5, 91, "C × H × W", ha="left", va="center", fontsize=8, color=FAINT)
    draw_maps(axes, 87, 68, gates, GREEN)
    axes.text(88, 96, r"output $g \odot x$", ha="left", va="center", fontsize=9)
    axes.text(88, 91, "C × H × W", ha="left", va="center", fontsize=8, color=FAINT)
    arrow(axes, (32, 77), (67.2, 77))
    axes.add_patch(Circle((70.5, 77), 3.3, facecolor="white", edgecolor=INK, linewidth=1))
    axes.text(70.5, 76.9, r"$\odot$", ha="center", va="center", fontsize=11)
    arrow(axes, (73.8, 77), (86, 77))

    base = 31
    arrow(axes, (12, 67), (12, 56))
    draw_vector(axes, 10.5, base, (0.25, 0.5, 0.35, 0.6, 0.45, 0.3, 0.55, 0.4), LINE)
    axes.text(12, base - 1.5, "C", ha="center", va="top", fontsize=8, color=FAINT)
    axes.text(14.5, 61.5, "average of each map", ha="left", va="center", fontsize=9)
    arrow(axes, (14.5, 44), (19.5, 44))
    box(axes, 27, 44, "fc1, $\\varphi$")
    arrow(axes, (34.5, 44), (39.5, 44))
    draw_vector(axes, 40.5, 41, (0.5, 0.3), LINE)
    axes.text(42, 50, "$z$", ha="center", va="center", fontsize=10)
    axes.text(45, 49.8, "C/16", ha="left", va="center", fontsize=8, color=FAINT)
    axes.add_patch(Rectangle((40.5, 37.5), 3, 3, facecolor=ORANGE, edgecolor="white", linewidth=0.8))
    arrow(axes, (44.5, 44), (49.5, 44))
    box(axes, 57, 44, "fc2, $\\sigma$")
    arrow(axes, (64.5, 44), (68.5, 44))
    draw_vector(axes, 69, base, (*gates, 0.6, 0.25, 0.8), GREEN)
    axes.text(70.5, base - 1.5, "C", ha="center", va="top", fontsize=8, color=FAINT)
    arrow(axes, (70.5, 55.6), (70.5, 73.4))
    axes.text(73, 61.5, "gates $g$", ha="left", va="center", fontsize=9, color=GREEN)

    arrow(axes, (42, 30), (42, 37), color=ORANGE)
    axes.text(42, 27, "domain bit $d$", ha="center", va="center", fontsize=9, color=ORANGE)
    draw_sketch(axes, 12, 10.5)
    axes.text(20, 15.4, "sketch: $d = 0$", ha="left", va="center", fontsize=9)
    draw_photo(axes, 58, 10.5)
    axes.text(68.5, 15.4, "photo: $d = 1$", ha="left", va="center", fontsize=9)

    axes.text(79, 50.5, r"$z = \varphi(W_1\,\mathrm{GAP}(x) + b_1)$", fontsize=8.6, va="center")
    axes.text(79, 43, r"$g = \sigma(W_2\,[z\,;\,d\,] + b_2)$", fontsize=8.6, va="center")
    axes.text(79, 35.5, r"$\varphi$, $\sigma$: sigmoid", fontsize=8, va="center", color=FAINT)


def draw_maps(axes: Any, x: float, y: float, strengths: tuple[float, ...], color: str) -> None:
    """A stack of feature maps, one behind the other, each as strong as its gate."""
    for place, strength in reversed(list(enumerate(strengths))):
        left, low = x + 3.2 * place, y + 1.1 * place
        corners = [(left, low), (left + 13, low), (left + 13, low + 13), (left, low + 13)]
        axes.add_patch(Polygon(corners, facecolor="white", edgecolor="none"))
        shade = matplotlib.colors.to_rgba(color, 0.12 + 0.6 * strength)
        axes.add_patch(Polygon(corners, facecolor=shade, edgecolor="white", linewidth=0.8))


def draw_vector(axes: Any, x: float, y: float, values: tuple[float, ...], color: str) -> None:
    """A column of cells from `y` upwards."""
    for place, value in enumerate(values):
        shade = matplotlib.colors.to_rgba(color, 0.15 + 0.85 * value)
        cell = Rectangle((x, y + 3 * place), 3, 3, facecolor=shade, edgecolor="white", linewidth=0.8)
        axes.add_patch(cell)


def draw_sketch(axes: Any, x: float, y: float) -> None:
    """A cup, as somebody draws it."""
    axes.plot(
        [x - 3, x - 2.2, x + 1.9, x + 2.8], [y + 7.6, y + 1, y + 0.8, y + 7.7], color=INK, linewidth=1.2
    )
    angle = np.linspace(0, 2 * np.pi, 60)
    axes.plot(x - 0.1 + 2.9 * np.cos(angle), y + 7.6 + 0.9 * np.sin(angle), color=INK, linewidth=1.2)
    angle = np.linspace(-1.5, 1.6, 30)
    axes.plot(x + 2.5 + 2.2 * np.cos(angle), y + 4.4 + 1.9 * np.sin(angle), color=INK, linewidth=1.2)


def draw_photo(axes: Any, x: float, y: float) -> None:
    """The same cup as a photo: filled, on a ground."""
    axes.add_patch(
        Rectangle((x - 5, y - 0.8), 12.4, 10.6, facecolor="#c8d9ea", edgecolor=LINE, linewidth=0.8)
    )
    axes.add_patch(Rectangle((x - 5, y - 0.8), 12.4, 3.1, facecolor="#b59b7c", edgecolor="none"))
    angle = np.linspace(-1.5, 1.6, 30)
    axes.plot(x + 2.2 + 2.2 * np.cos(angle), y + 4.4 + 1.9 * np.sin(angle), color="#a33b2e", linewidth=2)
    cup = [(x - 3, y + 7.6), (x - 2.2, y + 1), (x + 2, y + 1), (x + 2.8, y + 7.6)]
    axes.add_patch(Polygon(cup, facecolor="#c8503f", edgecolor="none"))
    angle = np.linspace(0, 2 * np.pi, 60)
    rim = np.stack([x - 0.1 + 2.9 * np.cos(angle), y + 7.6 + 0.9 * np.sin(angle)], axis=1)
    axes.add_patch(Polygon(rim, facecolor="#7d2c22", edgecolor="none"))


def box(axes: Any, x: float, y: float, text: str) -> None:
    """A layer, centred at x, y."""
    frame = FancyBboxPatch((x - 7, y - 4), 14, 8, boxstyle="round,pad=0,rounding_size=1.5")
    frame.set(facecolor="#eaeef2", edgecolor=INK, linewidth=1)
    axes.add_patch(frame)
    axes.text(x, y - 0.2, text, ha="center", va="center", fontsize=9)


def arrow(
    axes: Any, start: tuple[float, float], end: tuple[float, float], color: str = INK, head: bool = True
) -> None:
    style = "-|>,head_length=4,head_width=2" if head else "-"
    axes.add_patch(
        FancyArrowPatch(start, end, arrowstyle=style, color=color, linewidth=1, shrinkA=0, shrinkB=0)
    )


def title(axes: Any, x: float, text: str, below: str) -> None:
    axes.text(x, TOP - 6, text, fontsize=11, fontweight="bold", va="center", transform=axes.transData)
    axes.text(x, TOP - 12.5, below, fontsize=8.5, va="center", color=FAINT, transform=axes.transData)


# ------------------------------------------------------------------------------------- the boundary of MEMS


def excess(points: np.ndarray, margin: float, target: int) -> np.ndarray:
    """m^2 * d_target^2 - d_other^2 of points (..., 2): negative inside the boundary of `target`."""
    squares = ((points[..., None, :] - CENTERS) ** 2).sum(axis=-1)
    return margin**2 * squares[..., target] - squares[..., 1 - target]


def boundary(margin: float, target: int, resolution: int = 241) -> np.ndarray:
    """Where the excess is zero, points (N, 2), traced on a grid."""
    columns, rows = np.meshgrid(np.linspace(-1.2, 2.2, resolution), np.linspace(-0.9, 0.9, resolution))
    values = excess(np.stack([columns, rows], axis=-1), margin, target)
    figure = plt.figure()
    lines = figure.add_subplot().contour(columns, rows, values, levels=[0]).allsegs[0]
    plt.close(figure)
    return np.concatenate(lines)


def draw_boundary(axes: Any) -> None:
    """Regions that features of two classes are to lie in, for three margins."""
    axes.set(xlim=(-1.13, 2.13), aspect="equal")
    axes.set_ylim(-1.98, 3.26 * HEIGHT / (0.475 * WIDTH) - 1.98)
    axes.axis("off")
    scale = axes.inset_axes((0, 0, 1, 1))  # titles at the same height as on the left
    scale.set(xlim=(0, 118), ylim=(0, TOP))
    scale.axis("off")
    title(scale, 3, "The margin of MEMS", "a feature must lie inside the boundary of its class")
    scale.text(3, TOP - 21, r"$m^2\,\|f - c_y\|^2 \; < \; \|f - c_j\|^2$", fontsize=10, va="center")

    for target, color in ((0, BLUE), (1, ORANGE)):
        for margin, alpha in ((2.0, 0.13), (LARGEST, 0.42)):
            line = boundary(margin, target)
            axes.add_patch(Polygon(line, facecolor=color, alpha=alpha, edgecolor="none"))
            axes.plot(*line.T, color=color, linewidth=1.2)
        axes.plot(*CENTERS[target], "o", color=color, markersize=4)
    bisector = boundary(1.0, 0)
    axes.plot(*bisector[np.abs(bisector[:, 1]) < 0.8].T, color=INK, linewidth=1.1, linestyle=(0, (4, 3)))
    axes.text(0, 0.07, "$c_y$", ha="center", va="bottom", fontsize=10)
    axes.text(1, 0.07, "$c_j$", ha="center", va="bottom", fontsize=10)
    axes.text(0.55, 0.76, "$m = 1$", ha="left", va="center", fontsize=9)
    for x, color in ((-0.45, BLUE), (1.45, ORANGE)):
        axes.text(x, 0.42, "$m = 2$", ha="center", va="center", fontsize=9, color=color)
    for x, color in ((-0.22, BLUE), (1.22, ORANGE)):
        axes.text(x, -0.4, r"$m = 2+\sqrt{3}$", ha="center", va="center", fontsize=8, color=color)

    axes.text(
        0.31, -0.93, "largest distance inside a class", ha="right", va="center", fontsize=8, color=FAINT
    )
    axes.text(0.37, -0.93, "smallest between classes", ha="left", va="center", fontsize=8, color=FAINT)
    for margin, y in ((2.0, -1.13), (LARGEST, -1.52)):
        low, high = (edge(boundary(margin, 0), side) for side in (min, max))
        other = edge(boundary(margin, 1), min)
        span(axes, low, high, y, BLUE)
        span(axes, high, other, y, INK)
        for x, value in ((low + high) / 2, high - low), ((high + other) / 2, other - high):
            axes.text(x, y - 0.07, f"${value:.2f}\\,D$", ha="center", va="top", fontsize=8.5)
    axes.text(0.85, -1.13, "$m = 2$: inside > between", ha="left", va="center", fontsize=8)
    axes.text(0.85, -1.52, r"$m = 2+\sqrt{3}$: equal", ha="left", va="center", fontsize=8)
    axes.text(0.85, -1.78, "larger $m$: inside < between", ha="left", va="center", fontsize=8)
    axes.text(-1.03, -1.78, r"$D = \|c_y - c_j\|$", ha="left", va="center", fontsize=8, color=FAINT)


def edge(line: np.ndarray, side: Any) -> float:
    """The leftmost or rightmost x of a boundary."""
    return float(side(line[:, 0]))


def span(axes: Any, left: float, right: float, y: float, color: str) -> None:
    """A dimension line from `left` to `right`."""
    axes.plot([left, right], [y, y], color=color, linewidth=1.2)
    for x in (left, right):
        axes.plot([x, x], [y - 0.045, y + 0.045], color=color, linewidth=1.2)


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("method.svg"))
