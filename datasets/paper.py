"""Photos, scans and screenshots of drawings -> dark strokes on white.

Arrays are (H, W) uint8, 0 is black. Darkness is float32: 0 is paper, 1 is black.
"""

from collections.abc import Sequence
from functools import reduce

import numpy as np
from PIL import Image
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

from utils.errors import UserError

WHITE, INK = 245, 160  # paper is at least WHITE, strokes are below INK
PALE = 96  # upper bound for the 10th percentile of stroke pixels; at most 52 in 3,125 Sketchy sketches
COARSE = 256  # longer side, in pixels, of the copy on which illumination and sheet edges are estimated
STRAY = 0.01  # largest fraction of pixels that are neither paper nor stroke; at most 0.0015 in Sketchy
DEEPEST_SHADOW = 0.4  # of the paper's brightness: anything darker is ink or background
EDGES = (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1])
NO_STROKES = "the picture is empty: no strokes found"
SPECK = 0.02  # of the picture's longer side: anything smaller may be dust or noise
UNEVEN = 0.15  # largest relative deviation of the illumination from a quadratic surface
WEAKEST = 0.08  # smallest darkness of a stroke


def is_clean(pixels: np.ndarray) -> bool:
    """Whether it already is dark strokes with soft edges on white paper, up to the border."""
    border = np.concatenate([pixels[edge] for edge in EDGES])
    if (border >= WHITE).mean() < 0.6:
        return False
    reach = max(4, max(pixels.shape) // 200)  # width of soft edges, with JPEG artefacts
    ink = pixels < INK
    if not ink.any() or np.percentile(pixels[pixels < WHITE], 10) > PALE:
        return False
    near = ndimage.maximum_filter(ink, 2 * reach + 1)
    return bool(((pixels < WHITE) & ~near).mean() < STRAY)


def make_white(pixels: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Remove a dark table, invert light on dark, flatten the illumination; returns notes on what was done.

    Raises UserError if there are no strokes.
    """
    notes: tuple[str, ...] = ()
    outside = find_surroundings(pixels)
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
    """Average over tiles so that no side exceeds COARSE pixels, float32."""
    image = Image.fromarray(pixels)
    image.thumbnail((COARSE, COARSE), Image.Resampling.BOX)
    return np.asarray(image, dtype=np.float32)


def enlarge(values: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Interpolate coarse float32 values to a picture of `shape`."""
    image = Image.fromarray(values.astype(np.float32))
    height, width = shape
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def find_surroundings(pixels: np.ndarray) -> np.ndarray | None:
    """Mask (H, W) of the table or frame around a sheet; None if there is none.

    A sheet is a light rectangle, in any pose, with sharp edges to something darker than a shadow.
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
    background = np.median(grey[outside & ndimage.binary_dilation(sheet, iterations=4)])
    edge = np.median(grey[sheet & ndimage.binary_dilation(outside, iterations=4)])
    if background > 0.5 * edge or measure_rectangularity(sheet) < 0.88:
        return None
    eroded = ndimage.binary_erosion(sheet, iterations=2, border_value=1)
    return enlarge(eroded, pixels.shape) < 0.99


def measure_rectangularity(mask: np.ndarray) -> float:
    """The fraction of its smallest (possibly rotated) bounding rectangle that a shape fills, in [0, 1]."""
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
    """Whether the polarity is light on dark.

    Decided by the pixels that differ from the background, which is estimated at the border (the mean of the
    picture would misjudge filled shapes). If none do, or the background is not uniform (a hard shadow, a
    piece of the table), thin structures decide.
    """
    grey = shrink(pixels)
    light_surface = fit_illumination(grey)
    border = np.concatenate([abs(grey - light_surface)[edge] < 16 for edge in EDGES])
    if border.mean() > 0.8:
        light_surface = enlarge(np.maximum(light_surface, 16), pixels.shape)
        apart = ndimage.gaussian_filter(pixels.astype(np.float32), 1) / light_surface - 1
        apart -= apart.clip(-UNEVEN, UNEVEN)
        light, dark = (float((signed.clip(0) ** 3).mean()) for signed in (apart, -apart))
        if light + dark > 1e-5:
            return light > dark
    window = max(3, max(grey.shape) // 40)
    tophats = (ndimage.white_tophat(grey, window), ndimage.black_tophat(grey, window))
    light, dark = (float((tophat**3).mean()) for tophat in tophats)
    return light > 2 * dark  # noise contributes equally to both


def fit_illumination(grey: np.ndarray) -> np.ndarray:
    """Fit a quadratic surface to the border, then iteratively to all pixels close to it."""
    height, width = grey.shape
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)  # (H, W, 6)
    inliers = np.maximum(abs(x), abs(y)) > 0.85
    median = np.median(grey[inliers])
    inliers &= abs(grey - median) <= 2.5 * max(5, np.median(abs(grey[inliers] - median)))
    surface = grey
    for _ in range(5):
        surface = terms @ np.linalg.lstsq(terms[inliers], grey[inliers], rcond=None)[0]
        residual = abs(grey - surface)
        inliers = residual <= 2.5 * max(5, np.median(residual[inliers]))
    return surface.astype(np.float32)


def flatten_illumination(pixels: np.ndarray) -> np.ndarray:
    """Dark strokes on unevenly lit paper -> on white, without noise and marks much paler than the strokes.

    Raises UserError if there are no strokes.
    """
    darkness, noise = measure_darkness(pixels)
    side = max(pixels.shape)
    visible = darkness[darkness > np.maximum(WEAKEST, 5 * noise)]
    if not len(visible):
        raise UserError(NO_STROKES)
    # darkness of a typical stroke; most visible pixels may belong to the grid of squared paper
    strokes = float(np.median(visible[visible >= np.percentile(visible, 95) / 2]))
    low = np.maximum(max(0.25 * strokes, WEAKEST / 2), 3 * noise)
    labels, count = ndimage.label(darkness > low, np.ones((3, 3)))
    darkest = ndimage.maximum(darkness, labels, np.arange(count + 1))
    is_stroke = (darkest >= 0.6 * strokes) & (np.bincount(labels.ravel()) >= (side / 300) ** 2)
    is_stroke[0] = False
    frame = reduce(np.intersect1d, [labels[edge] for edge in EDGES])  # of a board, or the rim of a scan
    if is_stroke.sum() > is_stroke[frame].sum():
        is_stroke[frame] = False
    lengths = [max(side.stop - side.start for side in box) for box in ndimage.find_objects(labels)]
    if not (np.array(lengths)[is_stroke[1:]] >= SPECK * side).any():
        raise UserError(NO_STROKES)
    black = np.clip((darkness - low) / np.maximum(0.8 * strokes - low, 0.05), 0, 1) * is_stroke[labels]
    return np.round(255 * (1 - black)).astype(np.uint8)


def measure_darkness(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Darkness (1 - reflectance: the picture divided by the illumination) and its noise, float32.

    The noise is a standard deviation per pixel; it grows as the light falls.
    """
    grey = shrink(pixels)
    light_surface = fit_illumination(grey)
    light_surface = np.maximum(light_surface, max(1, 0.25 * light_surface.max()))
    # Closing removes anything darker and narrower than its window and follows shadows, but also large filled
    # shapes, hence the clip at the deepest shadow. It cannot follow a slope at the border: the fitted surface
    # accounts for that.
    shadow = ndimage.grey_closing(grey / light_surface, max(3, max(grey.shape) // 16), mode="nearest")
    shadow = ndimage.grey_erosion(shadow, 5, mode="nearest")  # no line along the edge of a hard shadow
    light = enlarge(
        light_surface * ndimage.gaussian_filter(shadow, 1, mode="nearest").clip(DEEPEST_SHADOW), pixels.shape
    )
    darkness = 1 - ndimage.gaussian_filter(pixels.astype(np.float32), 0.7) / light
    paper = darkness <= max(0.25, darkness.min())  # a filled shape may cover most of the picture
    darkness -= np.median(darkness[paper])
    grain = darkness * light
    grain -= ndimage.gaussian_filter(grain, 4)
    return darkness, 1.4826 * np.median(abs(grain)) / light
