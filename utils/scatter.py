"""A map of points on a plane: of which category and domain each is, also without seeing colours."""

from pathlib import Path
from typing import Any

import numpy as np

from utils.charts import COLOURS, drawing, shortened
from utils.figures import FAINT, INK

MARKERS = (("o", 20), ("^", 44))  # of the domains, with their sizes


def save_scatter(points: np.ndarray, categories: list[str], domains: list[str], path: Path) -> None:
    """Points (N, 2), each of a category, by colour and filling, and of a domain, by marker.

    The domain met first has circles, the other one triangles. The name of a category stands above the middle
    of its circles.
    """
    from matplotlib.patheffects import withStroke

    names, kinds = sorted(set(categories)), list(dict.fromkeys(domains))
    of_category, of_domain = np.array(categories), np.array(domains)
    span = np.ptp(points, axis=0) + 1e-9
    with drawing(path, 7.2, 8.2) as figure:
        axis = figure.subplots()
        tops = []
        for number, name in enumerate(names):
            own = of_category == name
            for kind, (marker, size) in zip(kinds, MARKERS[: len(kinds)], strict=True):
                label = name if kind == kinds[0] else None
                x, y = points[own & (of_domain == kind)].T
                axis.scatter(x, y, marker=marker, s=size, label=label, **filling_of(number))
            tops.append(above(points[own], points[own & (of_domain == kinds[0])], span))
        places = spread(np.array(tops), span)
        for name, (x, y) in zip(names, places, strict=True):
            text = axis.text(x, y, shortened(name), ha="center", va="center", fontsize=10, weight="bold")
            text.set_path_effects([withStroke(linewidth=3, foreground="white")])
        shapes = [
            axis.scatter([], [], marker=marker, s=36, color=FAINT) for marker, _ in MARKERS[: len(kinds)]
        ]
        axis.legend(shapes, kinds, loc="upper left", bbox_to_anchor=(0, 1.06), ncols=2)
        heights = np.concatenate([points[:, 1], places[:, 1]])
        edge = 0.05 * span[1]
        axis.set(xticks=[], yticks=[], ylim=(heights.min() - edge, heights.max() + edge))
        axis.margins(x=0.1)
        axis.spines[:].set_visible(True)
        figure.legend(loc="outside lower center", ncols=4)


def filling_of(number: int) -> dict[str, Any]:
    """How the points of the category `number` are filled: no two of the first 21 in the same way."""
    colour, turn = COLOURS[number % len(COLOURS)], number // len(COLOURS) % 3
    pale = {"facecolor": (colour, 0.45), "edgecolor": INK, "linewidth": 0.9}
    hollow = {"facecolor": "white", "edgecolor": colour, "linewidth": 1.3}
    return ({"color": colour, "linewidth": 0, "alpha": 0.85}, hollow, pale)[turn]


def above(points: np.ndarray, circles: np.ndarray, span: np.ndarray) -> tuple[float, float]:
    """Where the name of a category is read best: over those of its points that lie around most circles."""
    middle = np.median(circles, axis=0)
    around = points[(np.abs(points - middle) < 0.08 * span).all(axis=1)]
    return middle[0], around[:, 1].max(initial=middle[1]) + 0.03 * span[1]


def spread(places: np.ndarray, span: np.ndarray) -> np.ndarray:
    """`places` (n, 2) of labels, moved apart up and down where two would be drawn over one another.

    `span` (2,) is the width and height of what they are drawn on.
    """
    width, height = 0.2 * span[0], 0.035 * span[1]
    places = places.copy()
    for _ in range(200):
        still = True
        for one in range(len(places)):
            for other in range(one):
                gap = places[one] - places[other]
                if abs(gap[0]) < width and abs(gap[1]) < height:
                    upper, lower = (one, other) if gap[1] >= 0 else (other, one)
                    push = (1.001 * height - abs(gap[1])) / 2
                    places[upper, 1] += push
                    places[lower, 1] -= push
                    still = False
        if still:
            break
    return places
