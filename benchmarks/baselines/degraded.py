"""Clean sketches degraded to look like photographed, scanned or inverted drawings.

Each function of `DEGRADATIONS` takes a sketch, writes a file and returns its path. Tests clean the files,
and benchmarks/drawings.py searches with them.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps

Rng = np.random.Generator
Floats = np.ndarray  # (H, W) or (H, W, 3) float32 in [0, 1]

BLUE_PEN, PENCIL, CHALK = (0.12, 0.2, 0.55), (0.3, 0.3, 0.32), (0.85, 0.85, 0.8)
PAPER, BOARD, TABLE = (0.86, 0.83, 0.76), (0.16, 0.22, 0.19), (0.25, 0.17, 0.1)
ORIENTATION = 0x0112


def ink_fraction(sketch: Image.Image, side: int, *, thinner: int = 0) -> Floats:
    """Fraction of ink in each pixel, (side, side) in [0, 1]; strokes are `thinner` pixels narrower."""
    large = sketch.convert("L").resize((side, side), Image.Resampling.BICUBIC)
    if thinner:
        large = large.filter(ImageFilter.MaxFilter(2 * (thinner // 2) + 1))
    return 1 - np.asarray(large, dtype=np.float32) / 255


def to_image(values: Floats) -> Image.Image:
    """Values in [0, 1], clipped, as an image of 8 bits."""
    return Image.fromarray((255 * values.clip(0, 1)).astype(np.uint8))


def place_ink(ink: Floats, height: int, width: int, top: int, left: int) -> Floats:
    """An empty sheet (height, width) with `ink` at `top`, `left`."""
    sheet = np.zeros((height, width), np.float32)
    sheet[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    return sheet


def paint(ink: Floats, ground: tuple[float, ...], pen: tuple[float, ...], strength: float = 1) -> Floats:
    """A sheet (H, W, 3) of the colour `ground` with `ink` of the colour `pen` and opacity `strength`."""
    alpha = strength * ink[..., None]
    return (1 - alpha) * np.array(ground, np.float32) + alpha * np.array(pen, np.float32)


def photograph(scene: Floats, rng: Rng, *, noise: float = 0.03) -> Image.Image:
    """Photograph `scene` under a lamp in one corner, slightly blurred, with sensor noise."""
    y, x = np.mgrid[0 : scene.shape[0], 0 : scene.shape[1]] / max(scene.shape[:2])
    lamp = rng.uniform(-0.2, 1, 2)
    light = 1.05 - 0.5 * np.hypot(y - lamp[0], x - lamp[1]) ** 1.2
    blurred = (
        np.asarray(to_image(scene * light[..., None]).filter(ImageFilter.GaussianBlur(1.2)), dtype=np.float32)
        / 255
    )
    return to_image(blurred + noise * rng.standard_normal(blurred.shape, dtype=np.float32))


def save_image(image: Image.Image, path: Path, **options: Any) -> Path:
    image.save(path, **options)
    return path


def leave_unchanged(sketch: Image.Image, rng: Rng, path: Path) -> Path:
    return save_image(sketch, path.with_suffix(".png"))


def white_on_black(sketch: Image.Image, rng: Rng, path: Path) -> Path:
    return save_image(ImageOps.invert(sketch.convert("L")), path.with_suffix(".png"))


def white_on_transparent(sketch: Image.Image, rng: Rng, path: Path) -> Path:
    image = Image.new("RGBA", sketch.size, "white")
    image.putalpha(ImageOps.invert(sketch.convert("L")))
    return save_image(image, path.with_suffix(".png"))


def black_on_transparent(sketch: Image.Image, rng: Rng, path: Path) -> Path:
    image = Image.new("RGBA", sketch.size, "black")
    image.putalpha(ImageOps.invert(sketch.convert("L")))
    return save_image(image, path.with_suffix(".png"))


def pencil_on_paper(sketch: Image.Image, rng: Rng, path: Path) -> Path:
    """A photo of a faint pencil drawing."""
    sheet = place_ink(ink_fraction(sketch, 700), 900, 1200, 120, 260)
    pencil = sheet * (0.8 + 0.2 * rng.standard_normal(sheet.shape, dtype=np.float32))
    image = photograph(paint(pencil.clip(0, 1), PAPER, PENCIL, 0.55), rng)
    return save_image(image, path.with_suffix(".jpg"), quality=70)


def pen_on_squared_paper(sketch: Image.Image, rng: Rng, path: Path) -> Path:
    sheet = paint(place_ink(np.zeros((0, 0)), 900, 1200, 0, 0), PAPER, PAPER)
    sheet[20::40] = sheet[21::40] = (0.68, 0.72, 0.78)
    sheet[:, 20::40] = sheet[:, 21::40] = (0.68, 0.72, 0.78)
    alpha = place_ink(ink_fraction(sketch, 700, thinner=4), 900, 1200, 120, 260)[..., None]
    scene = (1 - alpha) * sheet + alpha * np.array(BLUE_PEN, np.float32)
    return save_image(photograph(scene, rng, noise=0.02), path.with_suffix(".jpg"), quality=80)


def sheet_on_a_table(sketch: Image.Image, rng: Rng, path: Path) -> Path:
    """A rotated sheet on dark wood."""
    sheet = paint(place_ink(ink_fraction(sketch, 600), 660, 800, 30, 100), PAPER, PENCIL, 0.9)
    pasted = to_image(sheet).convert("RGBA")
    pasted = pasted.rotate(rng.uniform(-8, 8), Image.Resampling.BICUBIC, expand=True)
    scene = Image.new("RGB", (1200, 960), tuple(int(255 * value) for value in TABLE))
    scene.paste(pasted, (150, 90), pasted)
    image = photograph(np.asarray(scene, dtype=np.float32) / 255, rng)
    return save_image(image, path.with_suffix(".jpg"), quality=80)


def chalk_on_a_board(sketch: Image.Image, rng: Rng, path: Path) -> Path:
    sheet = place_ink(ink_fraction(sketch, 700), 900, 1200, 120, 260)
    chalk = sheet * rng.uniform(0.5, 1, sheet.shape).astype(np.float32)
    image = photograph(paint(chalk, BOARD, CHALK, 0.8), rng)
    return save_image(image, path.with_suffix(".jpg"), quality=80)


def small_in_a_corner(sketch: Image.Image, rng: Rng, path: Path) -> Path:
    """A small drawing in the corner of a canvas that is wider than high."""
    image = Image.new("L", (1024, 768), 255)
    image.paste(sketch.resize((240, 240), Image.Resampling.BICUBIC), (30, 490))
    return save_image(image, path.with_suffix(".png"))


def fine_pen_large_scan(sketch: Image.Image, rng: Rng, path: Path) -> Path:
    """A grey scan of 5.6 megapixels with strokes 0.3 % of its width."""
    sheet = place_ink(ink_fraction(sketch, 1900, thinner=17), 2000, 2800, 50, 450)
    paper = 0.94 - 0.6 * sheet + 0.015 * rng.standard_normal(sheet.shape, dtype=np.float32)
    return save_image(to_image(paper), path.with_suffix(".jpg"), quality=85)


def turned_by_exif(sketch: Image.Image, rng: Rng, path: Path) -> Path:
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # rotate clockwise to view
    turned = sketch.convert("L").transpose(Image.Transpose.ROTATE_90)
    return save_image(turned, path.with_suffix(".jpg"), exif=exif, quality=90)


def framed_in_black(sketch: Image.Image, rng: Rng, path: Path) -> Path:
    image = ImageOps.expand(sketch.convert("L"), border=sketch.width // 16, fill=0)
    return save_image(image, path.with_suffix(".png"))


def filled_with_black(sketch: Image.Image, rng: Rng, path: Path) -> Path:
    """A silhouette: what the outline encloses is black."""
    grey = sketch.convert("L")
    outside = grey.point(lambda value: 255 if value > 160 else 0)
    for corner in ((0, 0), (grey.width - 1, 0), (0, grey.height - 1), (grey.width - 1, grey.height - 1)):
        ImageDraw.floodfill(outside, corner, 128)
    return save_image(outside.point(lambda value: 255 if value == 128 else 0), path.with_suffix(".png"))


DEGRADATIONS: dict[str, Callable[[Image.Image, Rng, Path], Path]] = {
    "as it is": leave_unchanged,
    "turned by its EXIF tag": turned_by_exif,
    "black on transparent": black_on_transparent,
    "white on transparent": white_on_transparent,
    "white on black": white_on_black,
    "framed in black": framed_in_black,
    "small, in a corner of a 4:3 canvas": small_in_a_corner,
    "photo of pencil on paper": pencil_on_paper,
    "photo of pen on squared paper": pen_on_squared_paper,
    "photo of a sheet on a dark table": sheet_on_a_table,
    "photo of chalk on a board": chalk_on_a_board,
    "scan of 5.6 megapixels, fine pen": fine_pen_large_scan,
}
