"""Pictures: a contact sheet of retrieved images, and curves of a training run."""

from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from utils.files import replacing
from utils.tracking import read_scalars

# Okabe and Ito's palette: told apart by all common kinds of colour vision; misses are dashed as well
HIT, MISS, INK, FAINT = "#0072B2", "#D55E00", "#202020", "#707070"
PALETTE = (HIT, MISS, "#009E73", "#CC79A7", "#000000")
CELL, GAP, FRAME, TEXT, MARGIN = 96, 8, 4, 14, 16


@dataclass(frozen=True)
class SheetRow:
    """One query and what was found for it, nearest first; titles name categories."""

    query: Image.Image
    title: str
    results: list[Image.Image]
    result_titles: list[str]
    judged: bool = True  # whether the category of the query is known


def contact_sheet(rows: list[SheetRow], caption: str) -> Image.Image:
    """Queries on the left, their results on the right: hits framed solid blue, misses dashed orange."""
    columns = max(len(row.results) for row in rows)
    pitch = CELL + 2 * FRAME + GAP
    width = 2 * MARGIN + (columns + 1) * pitch + GAP
    # the default font's letters are about half as wide as high
    lines = [part for line in caption.splitlines() for part in wrap(line, int(1.8 * width / TEXT))]
    head = len(lines) * (TEXT + GAP // 2)
    top = MARGIN + head + TEXT + 3 * GAP
    height = top + len(rows) * (pitch + TEXT) + MARGIN
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    font, small = ImageFont.load_default(TEXT), ImageFont.load_default(TEXT - 3)
    for number, line in enumerate(lines):
        draw.text((MARGIN, MARGIN + number * (TEXT + GAP // 2)), line, fill=INK, font=font)
    draw.text((MARGIN, MARGIN + head + GAP), "query", fill=FAINT, font=small)
    left = MARGIN + pitch + GAP
    legend = [("nearest photos, from left to right", FAINT)]
    if any(row.judged for row in rows):
        legend += [("hit", HIT), ("miss", MISS)]
    x: float = left
    for text, colour in legend:
        draw.text((x, MARGIN + head + GAP), text, fill=colour, font=small)
        x += draw.textlength(text + "   ", small)
    for index, row in enumerate(rows):
        y = top + index * (pitch + TEXT)
        paste(sheet, row.query, (MARGIN + FRAME, y + FRAME))
        label(draw, row.title, (MARGIN + FRAME, y + CELL + 2 * FRAME), small, INK)
        for position, (image, title) in enumerate(zip(row.results, row.result_titles, strict=True)):
            x = left + position * pitch
            hit = title == row.title
            if row.judged:
                frame(draw, (x, y), HIT if hit else MISS, dashed=not hit)
            paste(sheet, image, (x + FRAME, y + FRAME))
            label(
                draw,
                title,
                (x + FRAME, y + CELL + 2 * FRAME),
                small,
                FAINT if hit or not row.judged else MISS,
            )
    return sheet


def paste(sheet: Image.Image, image: Image.Image, corner: tuple[int, int]) -> None:
    image = image.convert("RGB")
    if CELL * min(image.size) < max(image.size):  # so thin that nothing of it would be left
        image.thumbnail((CELL, CELL))
    sheet.paste(ImageOps.pad(image, (CELL, CELL), color="white"), corner)


def frame(draw: ImageDraw.ImageDraw, corner: tuple[int, int], colour: str, *, dashed: bool) -> None:
    x, y = corner
    side = CELL + 2 * FRAME
    draw.rectangle((x, y, x + side - 1, y + side - 1), outline=colour, width=FRAME)
    if dashed:
        for gap in range(
            12, side - FRAME - 6, 14
        ):  # across the whole cell: the image is pasted over its middle
            draw.rectangle((x + gap, y, x + gap + 5, y + side - 1), fill="white")
            draw.rectangle((x, y + gap, x + side - 1, y + gap + 5), fill="white")


def label(
    draw: ImageDraw.ImageDraw,
    text: str,
    corner: tuple[int, int],
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    colour: str,
) -> None:
    """`text`, shortened until it fits under one cell."""
    shown = text
    while draw.textlength(shown, font) > CELL and len(shown) > 1:
        text = text[:-1]
        shown = text + "…"
    draw.text(corner, shown, fill=colour, font=font)


def save_png(image: Image.Image, path: Path) -> None:
    """Write `image` to `path`, atomically."""
    with replacing(path) as temporary:
        image.save(temporary, format="PNG")


def save_curves(scalars: Path, path: Path) -> None:
    """Draw loss and learning rate over the steps from a scalars.csv, as a PNG."""
    from matplotlib.figure import Figure  # slow to import: only at the end of a training

    rows = read_scalars(scalars)
    steps = [row["step"] for row in rows]
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    for axis, name, colour in zip(figure.subplots(1, 2), ("loss", "lr"), (HIT, MISS), strict=True):
        axis.plot(steps, [row[name] for row in rows], color=colour)
        axis.set(
            xlabel="step", ylabel={"loss": "loss (mean since the last row)", "lr": "learning rate"}[name]
        )
        axis.grid(alpha=0.3)
        axis.ticklabel_format(axis="y", scilimits=(-3, 4))
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def save_dots(
    rows: dict[str, list[list[float]]], columns: list[str], *, title: str, xlabel: str, path: Path
) -> None:
    """One line per row and one colour and marker per column: values as dots, their mean as a bar, as a PNG.

    `rows[label][i]` are the values of column i, none, one or several.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.4 + 0.45 * max(2, len(rows))), layout="constrained")
    axis = figure.subplots()
    styles = list(zip(PALETTE, "osD^v", strict=True))
    for number, column in enumerate(columns):
        colour, marker = styles[number % len(styles)]
        offset = 0.7 * ((number + 0.5) / len(columns) - 0.5)
        points = [
            (value, place + offset) for place, values in enumerate(rows.values()) for value in values[number]
        ]
        x, y = zip(*points, strict=True) if points else ((), ())
        axis.plot(x, y, marker, color=colour, alpha=0.7, markersize=5, markeredgewidth=0, label=column)
        for place, values in enumerate(rows.values()):
            if values[number]:
                mean = sum(values[number]) / len(values[number])
                axis.plot(
                    [mean, mean], [place + offset - 0.12, place + offset + 0.12], color=colour, linewidth=2
                )
    axis.set(xlabel=xlabel, title=title, yticks=range(len(rows)), yticklabels=list(rows))
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.grid(axis="x", alpha=0.3)
    if len(columns) > 1:
        axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def save_separation(panels: dict[str, tuple[np.ndarray, np.ndarray]], *, title: str, path: Path) -> None:
    """One panel per entry: a dot per category at (max intra, min inter), and where they are equal, as a PNG.

    Values that are not finite are not drawn: nothing bounds a category when the margin is 1.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.4 * len(panels), 3.9), layout="constrained")
    figure.suptitle(title, fontsize="medium")
    for axis, (name, (intra, inter)) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        shown = np.isfinite(intra) & np.isfinite(inter)
        held, known = np.count_nonzero(intra < inter), np.count_nonzero(~np.isnan(intra))
        limit = 1.05 * max([*intra[shown], *inter[shown], 1e-9])
        axis.plot([0, limit], [0, limit], color=FAINT, linewidth=1)
        axis.fill_between([0, limit], [0, limit], [limit, limit], color=HIT, alpha=0.08, linewidth=0)
        axis.plot(intra[shown], inter[shown], "o", color=HIT, markersize=4, alpha=0.7, markeredgewidth=0)
        axis.set_title(f"{name}\nholds for {held} of {known} categories", fontsize="small")
        axis.set(xlabel="largest distance inside", xlim=(0, limit), ylim=(0, limit), aspect="equal")
        axis.set_ylabel("smallest distance to another category" if axis is figure.axes[0] else "")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
