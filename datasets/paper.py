"""Paper, board or screen -> dark strokes on white: what a photo or a scan of a drawing needs.

Arrays are (H, W) uint8, 0 is black. Darkness is a float32 share: 0 is paper, 1 as black as can be.
"""

from collections.abc import Sequence
from functools import reduce

import numpy as np
from PIL import Image
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

from utils.errors import UserError

WHITE, INK = 245, 160  # paper is at least, strokes are less than this
PALE = 96  # the darkest tenth of strokes is darker; at most 52 in 3,125 Sketchy sketches
COARSE = 256  # pixels of the longer side where illumination and edges of a sheet are looked for
STRAY = 0.01  # share of pixels that may be neither paper nor stroke; Sketchy's have 0.0015 at most
DEEPEST_SHADOW = 0.4  # of the light of the paper: what is darker is ink, or no paper
EDGES = (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1])
EMPTY = "the picture is empty: no strokes found"
SPECK = 0.02  # of the picture's longer side: what is smaller may be dust or noise
UNEVEN = 0.15  # share by which light may differ from a quadratic surface
WEAKEST = 0.08  # darkness: what is paler than that is no stroke


def is_clean(pixels: np.ndarray) -> bool:
    """Whether that is white paper, the border too, and dark strokes with soft edges: nothing to be done."""
    border = np.concatenate([pixels[edge] for edge in EDGES])
    if (border >= WHITE).mean() < 0.6:
        return False
    reach = max(4, max(pixels.shape) // 200)  # of soft edges, and of what JPEG makes of them
    ink = pixels < INK
    if not ink.any() or np.percentile(pixels[pixels < WHITE], 10) > PALE:
        return False
    near = ndimage.maximum_filter(ink, 2 * reach + 1)
    return bool(((pixels < WHITE) & ~near).mean() < STRAY)


def make_white(pixels: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Dark strokes on white, from either polarity, uneven light and a dark table; and what was done.

    Raises UserError if nothing stands out.
    """
    notes: tuple[str, ...] = ()
    outside = surroundings(pixels)
    if outside is not None:
        notes += ("cut out of its dark surroundings",)
        nearest = ndimage.distance_transform_edt(outside, return_distances=False, return_indices=True)
        pixels = pixels[tuple(nearest)]
    if is_light_on_dark(pixels):
        notes += ("inverted: it was light on dark",)
        pixels = 255 - pixels
    if not is_clean(pixels):
        notes += ("paper evened out",)
        pixels = flatten_illumination(pixels)
    return pixels if outside is None else np.where(outside, np.uint8(255), pixels), notes


def shrink(pixels: np.ndarray) -> np.ndarray:
    """The mean over tiles, float32, so that no side has more than COARSE pixels."""
    image = Image.fromarray(pixels)
    image.thumbnail((COARSE, COARSE), Image.Resampling.BOX)
    return np.asarray(image, dtype=np.float32)


def enlarge(values: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Coarse float32 values at every pixel of a picture of `shape`."""
    image = Image.fromarray(values.astype(np.float32))
    height, width = shape
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def surroundings(pixels: np.ndarray) -> np.ndarray | None:
    """Bool (H, W), the table or frame around a sheet; None if there is none.

    A sheet is a light rectangle, in any pose, with sharp edges to something darker than a shadow on it.
    """
    grey = ndimage.median_filter(shrink(pixels), 5, mode="nearest")
    light = grey > DEEPEST_SHADOW * np.percentile(grey, 95)
    labels, count = ndimage.label(light)
    if not count:
        return None
    sheet = ndimage.binary_fill_holes(labels == np.bincount(labels[light]).argmax())
    outside = ~sheet
    border = np.concatenate([outside[edge] for edge in EDGES])
    if border.mean() < 0.05 or sheet.mean() < 0.3 or light[outside].mean() > 0.1:
        return None
    beside = np.median(grey[outside & ndimage.binary_dilation(sheet, iterations=4)])
    edge = np.median(grey[sheet & ndimage.binary_dilation(outside, iterations=4)])
    if beside > 0.5 * edge or rectangularity(sheet) < 0.88:
        return None
    kept = ndimage.binary_erosion(sheet, iterations=2, border_value=1)
    return enlarge(kept, pixels.shape) < 0.99


def rectangularity(mask: np.ndarray) -> float:
    """The share of its smallest upright or turned rectangle that a shape fills, in [0, 1]."""
    points = np.argwhere(mask).astype(np.float64)
    try:
        corners = points[ConvexHull(points).vertices]
    except QhullError:  # all on one line
        return 0.0
    along = np.diff(corners, axis=0, append=corners[:1])
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    across = along[:, ::-1] * (1, -1)
    # one side of the smallest rectangle lies on a side of the hull
    areas = (np.ptp(corners @ along.T, axis=0) + 1) * (np.ptp(corners @ across.T, axis=0) + 1)
    return min(1.0, float(mask.sum() / areas.min()))


def is_light_on_dark(pixels: np.ndarray) -> bool:
    """By what stands out from the ground, which is known at the border: a mean would misjudge filled shapes.

    Where nothing does, or the ground is not of one piece (a hard shadow, a bit of the table), narrow things
    decide: light on dark, or dark on light.
    """
    grey = shrink(pixels)
    lamp = illumination(grey)
    border = np.concatenate([abs(grey - lamp)[edge] < 16 for edge in EDGES])
    if border.mean() > 0.8:
        lamp = enlarge(np.maximum(lamp, 16), pixels.shape)
        apart = ndimage.gaussian_filter(pixels.astype(np.float32), 1) / lamp - 1
        apart -= apart.clip(-UNEVEN, UNEVEN)
        light, dark = (float((each.clip(0) ** 3).mean()) for each in (apart, -apart))
        if light + dark > 1e-5:
            return light > dark
    window = max(3, max(grey.shape) // 40)
    tophats = (ndimage.white_tophat(grey, window), ndimage.black_tophat(grey, window))
    light, dark = (float((each**3).mean()) for each in tophats)
    return light > 2 * dark  # noise has as much of both


def illumination(grey: np.ndarray) -> np.ndarray:
    """The quadratic surface through what lies at the border, then through all that is close to it."""
    height, width = grey.shape
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)  # (H, W, 6)
    taken = np.maximum(abs(x), abs(y)) > 0.85
    middle = np.median(grey[taken])
    taken &= abs(grey - middle) <= 2.5 * max(5, np.median(abs(grey[taken] - middle)))
    surface = grey
    for _ in range(5):
        surface = terms @ np.linalg.lstsq(terms[taken], grey[taken], rcond=None)[0]
        apart = abs(grey - surface)
        taken = apart <= 2.5 * max(5, np.median(apart[taken]))
    return surface.astype(np.float32)


def flatten_illumination(pixels: np.ndarray) -> np.ndarray:
    """Dark strokes on grey, unevenly lit paper -> on white, without noise and what is much paler than them.

    Raises UserError if there are no strokes.
    """
    darkness, noise = darkness_of(pixels)
    side = max(pixels.shape)
    visible = darkness[darkness > np.maximum(WEAKEST, 5 * noise)]
    if not len(visible):
        raise UserError(EMPTY)
    # of the typical stroke; most of what is visible may be the lines of squared paper
    strokes = float(np.median(visible[visible >= np.percentile(visible, 95) / 2]))
    low = np.maximum(max(0.25 * strokes, WEAKEST / 2), 3 * noise)
    labels, count = ndimage.label(darkness > low, np.ones((3, 3)))
    darkest = ndimage.maximum(darkness, labels, np.arange(count + 1))
    kept = (darkest >= 0.6 * strokes) & (np.bincount(labels.ravel()) >= (side / 300) ** 2)
    kept[0] = False
    frame = reduce(np.intersect1d, [labels[edge] for edge in EDGES])  # of a board, or the rim of a scan
    if kept.sum() > kept[frame].sum():
        kept[frame] = False
    lengths = [max(each.stop - each.start for each in part) for part in ndimage.find_objects(labels)]
    if not (np.array(lengths)[kept[1:]] >= SPECK * side).any():
        raise UserError(EMPTY)
    black = np.clip((darkness - low) / np.maximum(0.8 * strokes - low, 0.05), 0, 1) * kept[labels]
    return np.round(255 * (1 - black)).astype(np.uint8)


def darkness_of(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """1 - reflectance, the picture divided by the light on its paper; and how much of it is noise. float32.

    The noise is a standard deviation, the larger the less light there is.
    """
    grey = shrink(pixels)
    lamp = illumination(grey)
    lamp = np.maximum(lamp, max(1, 0.25 * lamp.max()))
    # closing takes away all that is darker and narrower than its window, and follows shadows; but large
    # filled shapes too: it ends at the deepest shadow. It cannot follow a slope at the border: that is apart
    shadow = ndimage.grey_closing(grey / lamp, max(3, max(grey.shape) // 16), mode="nearest")
    shadow = ndimage.grey_erosion(shadow, 5, mode="nearest")  # no line along the edge of a hard shadow
    light = enlarge(
        lamp * ndimage.gaussian_filter(shadow, 1, mode="nearest").clip(DEEPEST_SHADOW), pixels.shape
    )
    darkness = 1 - ndimage.gaussian_filter(pixels.astype(np.float32), 0.7) / light
    bare = darkness <= max(0.25, darkness.min())  # a filled shape may be most of the picture
    darkness -= np.median(darkness[bare])
    grain = darkness * light
    grain -= ndimage.gaussian_filter(grain, 4)
    return darkness, 1.4826 * np.median(abs(grain)) / light
