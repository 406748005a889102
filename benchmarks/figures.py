"""One kind of figure: lines over a number that grows."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from utils.figures import PALETTE
from utils.files import replacing

Line = tuple[Sequence[float], Sequence[float | None]]  # x and y, None where nothing was measured


def save_lines(
    panels: dict[str, dict[str, Line]], *, x: str, title: str, path: Path, log: bool = False
) -> None:
    """One panel per entry, named by its y axis, with a line per entry of that, as a PNG.

    Lines whose names are alike up to a comma look alike.
    """
    figure = Figure(figsize=(1 + 4.2 * len(panels), 3.8), layout="constrained")
    figure.suptitle(title, fontsize="medium")
    styles = list(zip(PALETTE, "osD^v", ("-", "--", "-.", ":", "-"), strict=True))
    for axis, (y, lines) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        kinds = list(dict.fromkeys(name.split(",")[0] for name in lines))
        for name, (places, values) in lines.items():
            colour, marker, style = styles[kinds.index(name.split(",")[0]) % len(styles)]
            known = [(a, b) for a, b in zip(places, values, strict=True) if b is not None]
            axis.plot(*zip(*known, strict=True), style, marker=marker, color=colour, markersize=4, label=name)
        axis.set(xlabel=x, ylabel=y)
        if log:
            axis.set(xscale="log", yscale="log")
        axis.grid(alpha=0.3)
    axis.legend(frameon=False, fontsize="small")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
