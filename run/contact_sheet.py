"""Contact sheets: one image of drawings and the photos retrieved for them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from utils.errors import one_line
from utils.files import atomic_write
from utils.plots import FAINT, INK, import_matplotlib

# from the palette of the plots, distinguishable with all common colour vision; misses are also dashed
HIT, MISS = "#0072B2", "#D55E00"
CELL, GAP, FRAME, TEXT, SMALL, MARGIN = 96, 8, 4, 14, 11, 16  # pixels
LINE = SMALL + 4
PITCH = CELL + 2 * FRAME + GAP


@dataclass(frozen=True)
class Cell:
    """An image with its file name, and its category if known."""

    image: Image.Image
    name: str
    category: str | None = None


@dataclass(frozen=True)
class SheetRow:
    """A query and the photos nearest to it, nearest first."""

    query: Cell
    results: Sequence[Cell]

    def is_hit(self, result: Cell) -> bool | None:
        """Whether a result has the query's category; None if the query's is unknown."""
        return None if self.query.category is None else result.category == self.query.category


def contact_sheet(rows: Sequence[SheetRow], caption: str) -> Image.Image:
    """Queries on the left, their results on the right: hits framed in blue, misses in dashed orange."""
    width = 2 * MARGIN + (1 + max(len(row.results) for row in rows)) * PITCH + GAP
    font, small = load_font(TEXT), load_font(SMALL)
    lines = [part for line in caption.splitlines() for part in wrap(line, font, width - 2 * MARGIN)]
    cells = [cell for row in rows for cell in (row.query, *row.results)]
    labels = 2 if any(cell.category for cell in cells) else 1
    head = MARGIN + len(lines) * (TEXT + 6)
    top = head + TEXT + 2 * GAP
    row_height = PITCH + labels * LINE
    sheet = Image.new("RGB", (width, top + len(rows) * row_height + MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        draw.text((MARGIN, MARGIN + number * (TEXT + 6)), line, fill=INK, font=font)
    draw.text((MARGIN, head + GAP // 2), "query", fill=FAINT, font=small)
    left = MARGIN + PITCH + GAP
    x: float = left
    for text, colour in describe_frames(rows):
        draw.text((x, head + GAP // 2), text, fill=colour, font=small)
        x += draw.textlength(f"{text}    ", small)
    for number, row in enumerate(rows):
        y = top + number * row_height
        draw_cell(sheet, row.query, (MARGIN, y), small)
        for position, result in enumerate(row.results):
            draw_cell(sheet, result, (left + position * PITCH, y), small, hit=row.is_hit(result))
    return sheet


def describe_frames(rows: Sequence[SheetRow]) -> list[tuple[str, str]]:
    """The legend: text and colour for each kind of frame on the sheet."""
    verdicts = {row.is_hit(result) for row in rows for result in row.results}
    entries = [("nearest photos, from left to right", FAINT)]
    if True in verdicts:
        entries.append(("framed blue: same category", HIT))
    if False in verdicts:
        entries.append(("dashed orange: other category", MISS))
    return entries


def draw_cell(
    sheet: Image.Image,
    cell: Cell,
    corner: tuple[int, int],
    font: ImageFont.FreeTypeFont,
    hit: bool | None = None,
) -> None:
    """Draw the image at `corner`, framed if `hit` is known, with its name and category below."""
    x, y = corner
    draw = ImageDraw.Draw(sheet)
    if hit is not None:
        draw_frame(draw, corner, HIT if hit else MISS, dashed=not hit)
    image = cell.image.convert("RGB")
    if CELL * min(image.size) < max(image.size):  # so thin that it would disappear
        image.thumbnail((CELL, CELL))
    sheet.paste(ImageOps.pad(image, (CELL, CELL), color="white"), (x + FRAME, y + FRAME))
    below = y + CELL + 2 * FRAME + 1
    draw.text((x + FRAME, below), shorten(cell.name, font, CELL + FRAME), fill=INK, font=font)
    if cell.category:
        colour = MISS if hit is False else FAINT
        category = shorten(cell.category, font, CELL + FRAME)
        draw.text((x + FRAME, below + LINE), category, fill=colour, font=font)


def draw_frame(draw: ImageDraw.ImageDraw, corner: tuple[int, int], colour: str, *, dashed: bool) -> None:
    x, y = corner
    side = CELL + 2 * FRAME
    draw.rectangle((x, y, x + side - 1, y + side - 1), outline=colour, width=FRAME)
    if dashed:  # gaps across the whole cell: the image is pasted over the middle afterwards
        for gap in range(12, side - FRAME - 6, 14):
            draw.rectangle((x + gap, y, x + gap + 5, y + side - 1), fill="white")
            draw.rectangle((x, y + gap, x + side - 1, y + gap + 5), fill="white")


def load_font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib: Latin, Greek, Cyrillic, Arabic, Hebrew and more."""
    path = Path(import_matplotlib().get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), size)


def wrap(line: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Split `line` into parts of at most `width` pixels, after spaces or inside words that are too long."""
    parts = [""]
    for word in re.findall(r"\S* *", one_line(line)):
        if parts[-1] and font.getlength((parts[-1] + word).rstrip()) > width:
            parts.append("")
        for letter in word:
            if font.getlength(parts[-1] + letter) > width and letter != " ":
                parts.append("")
            parts[-1] += letter
    return [part for part in parts if part] or [""]


def shorten(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Cut out the middle of `text` if it is wider than `width` pixels: names often differ at the end."""
    text = one_line(text)
    if font.getlength(text) <= width:
        return text
    for length in range(len(text) - 1, 0, -1):
        tail = length // 2
        short = f"{text[: length - tail]}…{text[len(text) - tail :]}"
        if font.getlength(short) <= width:
            return short
    return "…"


def save_png(image: Image.Image, path: Path) -> None:
    """Write `image` to `path`, atomically."""
    with atomic_write(path) as temporary:
        image.save(temporary, format="PNG")
