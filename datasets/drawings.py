"""A drawing of any making -> dark strokes on white paper, framed as the sketches of the data sets are.

A sketch of a data set, which is just that already, stays as it is to the last pixel: a search with a test
sketch gives what the test gives. For everything else the steps are those of `datasets.paper`, and the framing
here: the network squeezes a picture into a square and cuts 4.5 % off each side, and a drawing lost in the
corner of a wide sheet is not what it was trained on.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from datasets import paper
from datasets.images import FORMATS_IN_WORDS, flatten, read_image, read_upright, upright
from utils.errors import UserError

SIDE = 1111  # pixels: the largest sketches of the data sets, TU-Berlin's; what is larger is made smaller
MARGIN = 0.07  # of the square, on each side: the median of the demo set's sketches
SMALL = 0.6  # a drawing is trimmed if its longer side is less than this of the picture's
SMALLEST_SKETCH = 0.1  # the same for what may be a data set's: the least of 3,125 of Sketchy's is 0.109
SQUARE = 1.1  # sides of at most this ratio pass for a square
THIN = 0.01  # of the picture's side: strokes of the demo set and of Sketchy are at least 0.011 wide
COARSE, MOST_GROUND, COLOURS = 16, 0.35, 6  # of a colour photo, see `is_colour_photo`
REMEDY = f"give a drawing as {FORMATS_IN_WORDS}"


@dataclass(frozen=True)
class Drawing:
    """`image`: mode "L", dark strokes on white paper. `notes`: what was done to it, for its maker to read."""

    image: Image.Image
    notes: tuple[str, ...] = ()


def read_drawing(path: Path, *, clean: bool = True, pixels: int = 180_000_000) -> Drawing:
    """The drawing in a file, cleaned, or exactly as `read_image` has it.

    Raises UserError with the file's name if it cannot be read, is empty, or has more than `pixels` pixels
    by its header: those are not decoded.
    """
    if not clean:
        return Drawing(read_image(path, "L", remedy=REMEDY))
    image = read_upright(path, near=SIDE, pixels=pixels, remedy=REMEDY)
    try:
        return _cleaned(image)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def as_it_is(image: Image.Image) -> Drawing:
    """The picture in grey, nothing else done to it. Raises UserError if it cannot be read."""
    return Drawing(flatten(upright(image), "L"))


def cleaned(image: Image.Image) -> Drawing:
    """The drawing in a picture of any mode. Raises UserError if it cannot be read or has no strokes."""
    return _cleaned(upright(image))


def _cleaned(image: Image.Image) -> Drawing:
    """The drawing in a picture of mode L, RGB or RGBA. Raises UserError if there are no strokes in it."""
    small = at_most(image, SIDE)
    colour = ("this is a colour photo, not a drawing",) if is_colour_photo(small) else ()
    grey, notes = on_paper(small)
    of_a_data_set = small is image and image.mode != "RGBA"  # perhaps
    pixels = np.asarray(grey)
    if not paper.is_clean(pixels):
        of_a_data_set = False
        pixels, done = paper.make_white(pixels)
        notes += done
    ink = pixels < paper.INK
    if not ink.any():
        raise UserError(paper.EMPTY)
    if needs_framing(ink, SMALLEST_SKETCH if of_a_data_set else SMALL):
        of_a_data_set = False
        pixels = framed(pixels, ink)
        notes += ("trimmed to the drawing",)
    more = round(THIN * max(pixels.shape) - stroke_width(pixels))
    if more > 0 and not of_a_data_set:
        # the network's small input would hardly show them
        pixels = ndimage.grey_erosion(pixels, (more + 1, more + 1))
        notes += ("thin lines made thicker",)
    return Drawing(Image.fromarray(pixels) if notes else grey, colour + notes)


def at_most(image: Image.Image, side: int) -> Image.Image:
    """`image` itself, or made smaller so that no side has more than `side` pixels; thin lines turn grey."""
    scale = side / max(image.size)
    if scale >= 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)


def on_paper(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """Grey, without transparency: on white, as `read_image` has it, or light strokes on black, inverted."""
    if image.mode == "RGBA" and is_light_ink(image):
        grey, alpha = (np.asarray(band, dtype=np.uint16) for band in image.convert("LA").split())
        on_black = (grey * alpha + 127) // 255
        return Image.fromarray((255 - on_black).astype(np.uint8)), ("inverted: its strokes were light",)
    return flatten(image, "L"), ()


def is_light_ink(image: Image.Image) -> bool:
    """Whether what is not transparent would vanish on white: hardly any of it is dark.

    If most of the picture is opaque it has a paper of its own.
    """
    grey, alpha = (np.asarray(band) for band in image.convert("LA").split())
    opaque = alpha > 127
    return 0 < opaque.mean() < 0.5 and (grey[opaque] < 128).mean() < 0.05


def needs_framing(ink: np.ndarray, least: float) -> bool:
    """Whether the picture is not a square, or its drawing smaller than `least` of its longer side."""
    height, width = ink.shape
    top, bottom, left, right = extent(ink)
    longer = max(height, width)
    return longer > SQUARE * min(height, width) or max(bottom - top, right - left) < least * longer


def extent(ink: np.ndarray) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of the drawing, ends excluded; single specks do not count."""
    labels, _ = ndimage.label(ndimage.binary_dilation(ink, iterations=2))
    labels *= ink
    parts = ndimage.find_objects(labels)
    sizes = np.array([max(side.stop - side.start for side in each) for each in parts])
    weights = np.bincount(labels.ravel())[1:]
    large = sizes >= paper.SPECK * max(ink.shape)
    if weights[large].sum() < 0.5 * weights.sum():  # a drawing of dots
        large[:] = True
    drawn = np.concatenate([[False], large])[labels]
    rows, columns = np.flatnonzero(drawn.any(1)), np.flatnonzero(drawn.any(0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def framed(pixels: np.ndarray, ink: np.ndarray) -> np.ndarray:
    """The drawing in the middle of a white square, MARGIN free on each side."""
    top, bottom, left, right = extent(ink)
    height, width = bottom - top, right - left
    side = round(max(height, width) / (1 - 2 * MARGIN))
    square = np.full((side, side), 255, np.uint8)
    y, x = (side - height) // 2, (side - width) // 2
    square[y : y + height, x : x + width] = pixels[top:bottom, left:right]
    return square


def stroke_width(pixels: np.ndarray) -> float:
    """Pixels across a stroke, on average: twice the area by the outline."""
    ink = 1 - pixels.astype(np.float32) / 255
    steps = float(abs(np.diff(ink, axis=0)).sum() + abs(np.diff(ink, axis=1)).sum())
    return (
        2 * float(ink.sum()) / max(steps * np.pi / 4, 1)
    )  # a slanted outline has 4/pi times its length in steps


def is_colour_photo(image: Image.Image) -> bool:
    """Whether a picture is in many colours all over, which no drawing on a paper or a board is."""
    if image.mode != "RGB":
        return False
    small = image.resize((64, 64), Image.Resampling.BOX)
    coarse = np.asarray(small.convert("YCbCr"), dtype=np.int64) // COARSE
    _, counts = np.unique(coarse.reshape(-1, 3), axis=0, return_counts=True)
    ground = counts.max() / counts.sum()  # the share of the commonest colour
    return bool(ground < MOST_GROUND and len(np.unique(coarse[..., 1:].reshape(-1, 2), axis=0)) >= COLOURS)
