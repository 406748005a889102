"""Strong augmentation (`--augmentation=strong`): coarser sketches, and crops of photos.

The sketches of the data sets are drawn with care, in lines of one width; drawings by mouse, thick pen or
finger are not. So, before the published augmentation, half of the sketches are bent, and some get wider
lines, strokes drawn twice, and gaps. The published program only flips photos; with few photos per category a
network memorises them, so here they are also cropped and made lighter or darker, and a tenth of them is grey.

All random numbers come from torch's generator, as in the published augmentation, so a seed fixes a sample.
"""

import numpy as np
import torch
from PIL import Image, ImageChops, ImageFilter
from torch import Tensor

MESH = 4  # cells per side of the mesh that bends a sketch
BEND = 0.035  # largest shift of a mesh corner, as a fraction of the sketch's side
TWICE = 0.02  # the same for strokes drawn twice
WIDEST = 0.012  # largest radius by which lines grow, as a fraction of the side
LEAST_AREA = 0.4  # smallest crop, as a fraction of the photo's area


def uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(1))


def happens(probability: float) -> bool:
    return float(torch.rand(1)) < probability


def draw_coarsely(image: Image.Image) -> Image.Image:
    """Make a grey sketch (dark on white) look drawn with a coarser hand; the size stays the same."""
    if happens(0.5):
        image = bend(image, BEND)
    if happens(0.2):
        image = ImageChops.darker(image, bend(image, TWICE))
    if happens(0.3):
        image = leave_gaps(image)
    if happens(0.5):
        image = widen(image, uniform(0.2, 1) * WIDEST * max(image.size))
    return image


def bend(image: Image.Image, amount: float) -> Image.Image:
    """Warp the picture by shifting the corners of a coarse mesh at random; the edges fill with paper."""
    width, height = image.size
    cells = min(MESH, width, height)
    steps = torch.linspace(0, 1, cells + 1)
    grid = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), dim=-1)  # (row, column, (y, x))
    moved = (grid + (2 * torch.rand(grid.shape) - 1) * amount).numpy()
    mesh = []
    for row in range(cells):
        for column in range(cells):
            box = (
                column * width // cells,
                row * height // cells,
                (column + 1) * width // cells,
                (row + 1) * height // cells,
            )
            corners = [(row, column), (row + 1, column), (row + 1, column + 1), (row, column + 1)]
            quad = tuple(float(v) for at in corners for v in (moved[at][1] * width, moved[at][0] * height))
            mesh.append((box, quad))
    return image.transform(
        image.size, Image.Transform.MESH, mesh, resample=Image.Resampling.BILINEAR, fillcolor=255
    )


def widen(image: Image.Image, radius: float) -> Image.Image:
    """Widen lines by about `radius` pixels on each side, with soft edges."""
    ink = 255 - np.asarray(image.filter(ImageFilter.GaussianBlur(radius)), dtype=np.float32)
    ink *= 1 + 2.5 * radius  # compensates for the blur, which makes lines paler
    return Image.fromarray((255 - np.minimum(ink, 255)).astype(np.uint8))


def leave_gaps(image: Image.Image) -> Image.Image:
    """Erase one to four small squares, which interrupts strokes."""
    image = image.copy()
    side = max(1, int(0.08 * max(image.size)))
    for _ in range(1 + int(uniform(0, 4))):
        left, top = (int(uniform(0, max(1, length - side))) for length in image.size)
        image.paste(255, (left, top, left + side, top + side))
    return image


def vary_photo(pixels: Tensor) -> Tensor:
    """Random crop (resized to full size), flip, greyscale, contrast and brightness: uint8 (3, S, S)."""
    size = pixels.shape[-1]
    side = size * uniform(LEAST_AREA, 1) ** 0.5
    stretch = uniform(0.85, 1.15)
    width, height = min(size, side * stretch), min(size, side / stretch)
    left, top = uniform(0, size - width), uniform(0, size - height)
    image = Image.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).numpy()))
    image = image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + width, top + height))
    if happens(0.5):
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if happens(0.1):
        image = image.convert("L").convert("RGB")
    levels = np.asarray(image, dtype=np.float32)
    if happens(0.5):
        mean = float(levels.mean())
        levels = (levels - mean) * uniform(0.7, 1.3) + mean * uniform(0.7, 1.3)
        levels = levels.clip(0, 255)
    return torch.from_numpy(levels.astype(np.uint8)).permute(2, 0, 1)
