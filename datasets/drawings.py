"""Clean up a user's drawing: dark strokes on white paper, framed like the sketches of the data sets.

A data set's own sketches pass through unchanged to the last pixel, so a search with a test sketch returns
what the test does. Other pictures go through the steps of `datasets.paper` and are framed here: the network
squeezes a picture into a square and crops 4.5 % off each side, and was not trained on a small drawing in the
corner of a wide sheet.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from datasets import paper
from datasets.images import FORMATS_IN_WORDS, flatten, read_image, read_upright, turn_upright
from utils.errors import UserError

SIDE = 1111  # pixels: side of TU-Berlin's sketches, the largest of the data sets; larger pictures are shrunk
MARGIN = 0.07  # on each side, as a fraction of the square: the median over the demo set's sketches
SMALL = 0.6  # trim the picture if its longer side is more than 1 / SMALL times the drawing's
SMALLEST_SKETCH = 0.1  # the same for possible data set sketches: the minimum over 3,125 of Sketchy's is 0.109
SQUARE = 1.1  # largest aspect ratio that counts as a square
THIN = 0.01  # of the picture's side: strokes of the demo set and of Sketchy are at least 0.011 wide
COARSE, MOST_GROUND, COLOURS = 16, 0.35, 6  # thresholds of `is_colour_photo`
REMEDY = f"give a drawing as {FORMATS_IN_WORDS}"


@dataclass(frozen=True)
class Drawing:
    """`image`: mode "L", dark strokes on white paper. `notes`: what was changed, for the user."""

    image: Image.Image
    notes: tuple[str, ...] = ()


def read_drawing(path: Path, *, clean: bool = True, pixels: int = 180_000_000) -> Drawing:
    """Read a drawing and clean it up; without `clean`, exactly as `read_image` does.

    Raises UserError with the file's name if it cannot be read, is empty, or has more than `pixels` pixels
    according to its header (it is not decoded then).
    """
    if not clean:
        return Drawing(read_image(path, "L", remedy=REMEDY))
    image = read_upright(path, near=SIDE, pixels=pixels, remedy=REMEDY)
    try:
        return _clean_upright(image)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def convert_to_grey(image: Image.Image) -> Drawing:
    """The picture in grey, otherwise unchanged. Raises UserError if it cannot be read."""
    return Drawing(flatten(turn_upright(image), "L"))


def clean_drawing(image: Image.Image) -> Drawing:
    """Clean up a picture of any mode. Raises UserError if it cannot be read or has no strokes."""
    return _clean_upright(turn_upright(image))


def _clean_upright(image: Image.Image) -> Drawing:
    """Clean up a picture of mode L, RGB or RGBA. Raises UserError if it has no strokes."""
    small = limit_size(image, SIDE)
    colour = ("this is a colour photo, not a drawing",) if is_colour_photo(small) else ()
    grey, notes = lay_on_white(small)
    may_be_sketch = small is image and image.mode != "RGBA"  # of a data set
    pixels = np.asarray(grey)
    if not paper.is_clean(pixels):
        may_be_sketch = False
        pixels, changes = paper.make_white(pixels)
        notes += changes
    ink = pixels < paper.INK
    if not ink.any():
        raise UserError(paper.NO_STROKES)
    if needs_framing(ink, SMALLEST_SKETCH if may_be_sketch else SMALL):
        may_be_sketch = False
        pixels = frame_drawing(pixels, ink)
        notes += ("trimmed to the drawing",)
    widening = round(THIN * max(pixels.shape) - measure_stroke_width(pixels))
    if widening > 0 and not may_be_sketch:
        # thin lines nearly vanish at the network's input size
        pixels = ndimage.grey_erosion(pixels, (widening + 1, widening + 1))
        notes += ("thin lines made thicker",)
    return Drawing(Image.fromarray(pixels) if notes else grey, colour + notes)


def limit_size(image: Image.Image, side: int) -> Image.Image:
    """`image`, shrunk if needed so that no side exceeds `side` pixels; thin lines turn grey."""
    scale = side / max(image.size)
    if scale >= 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)


def lay_on_white(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """Grey without transparency: on white as in `read_image`; light strokes on black and then inverted."""
    if image.mode == "RGBA" and is_light_ink(image):
        grey, alpha = (np.asarray(band, dtype=np.uint16) for band in image.convert("LA").split())
        on_black = (grey * alpha + 127) // 255
        return Image.fromarray((255 - on_black).astype(np.uint8)), ("inverted: its strokes were light",)
    return flatten(image, "L"), ()


def is_light_ink(image: Image.Image) -> bool:
    """Whether the opaque pixels would vanish on white paper, because hardly any of them is dark.

    A mostly opaque picture brings its own paper, so the answer is no.
    """
    grey, alpha = (np.asarray(band) for band in image.convert("LA").split())
    opaque = alpha > 127
    return 0 < opaque.mean() < 0.5 and (grey[opaque] < 128).mean() < 0.05


def needs_framing(ink: np.ndarray, least: float) -> bool:
    """Whether the picture is not square, or the drawing is smaller than `least` times its longer side."""
    height, width = ink.shape
    top, bottom, left, right = measure_extent(ink)
    longer = max(height, width)
    return longer > SQUARE * min(height, width) or max(bottom - top, right - left) < least * longer


def measure_extent(ink: np.ndarray) -> tuple[int, int, int, int]:
    """Bounding box of the drawing: top, bottom, left, right (ends exclusive); specks are ignored."""
    labels, _ = ndimage.label(ndimage.binary_dilation(ink, iterations=2))
    labels *= ink
    parts = ndimage.find_objects(labels)
    sizes = np.array([max(side.stop - side.start for side in box) for box in parts])
    weights = np.bincount(labels.ravel())[1:]
    large = sizes >= paper.SPECK * max(ink.shape)
    if weights[large].sum() < 0.5 * weights.sum():  # a drawing of dots
        large[:] = True
    drawn = np.concatenate([[False], large])[labels]
    rows, columns = np.flatnonzero(drawn.any(1)), np.flatnonzero(drawn.any(0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def frame_drawing(pixels: np.ndarray, ink: np.ndarray) -> np.ndarray:
    """Centre the drawing in a white square with a margin of MARGIN on each side."""
    top, bottom, left, right = measure_extent(ink)
    height, width = bottom - top, right - left
    side = round(max(height, width) / (1 - 2 * MARGIN))
    square = np.full((side, side), 255, np.uint8)
    y, x = (side - height) // 2, (side - width) // 2
    square[y : y + height, x : x + width] = pixels[top:bottom, left:right]
    return square


def measure_stroke_width(pixels: np.ndarray) -> float:
    """Mean stroke width in pixels: twice the area divided by the length of the outline."""
    ink = 1 - pixels.astype(np.float32) / 255
    steps = float(abs(np.diff(ink, axis=0)).sum() + abs(np.diff(ink, axis=1)).sum())
    outline = steps * np.pi / 4  # counted in steps along the axes, an outline is on average 4/pi times longer
    return 2 * float(ink.sum()) / max(outline, 1)


def is_colour_photo(image: Image.Image) -> bool:
    """Whether a picture has many colours and no dominant one, unlike a drawing on paper or a board."""
    if image.mode != "RGB":
        return False
    small = image.resize((64, 64), Image.Resampling.BOX)
    coarse = np.asarray(small.convert("YCbCr"), dtype=np.int64) // COARSE
    _, counts = np.unique(coarse.reshape(-1, 3), axis=0, return_counts=True)
    ground = counts.max() / counts.sum()  # fraction of the most frequent colour
    return bool(ground < MOST_GROUND and len(np.unique(coarse[..., 1:].reshape(-1, 2), axis=0)) >= COLOURS)
