"""Looks into matplotlib figures, as the fixture `figures` has them."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text


def lines(axis: Axes) -> dict[str, tuple[list, list]]:
    """x and y of the lines of an axis, by label; those without one are left out."""
    found = {str(line.get_label()): line for line in axis.lines}
    return {
        label: (list(line.get_xdata()), list(line.get_ydata()))
        for label, line in found.items()
        if not label.startswith("_")
    }


def texts(figure: Figure) -> str:
    """Every word in a figure."""
    return "\n".join(text.get_text() for text in figure.findobj(Text))
