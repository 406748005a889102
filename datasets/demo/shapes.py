"""The built-in demo set: twelve categories of shapes, generated procedurally.

A category is a function that returns the parts of one random instance: proportions, the number and place of
the parts and the pose all vary, and no sketch is traced from a photo. The demo replaces a download: it shows
that the code learns, but its numbers cannot be compared with published ones.
"""

import contextlib
import io
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from datasets import PHOTO, SKETCH
from datasets.demo.outlines import SHAPES, Rng
from datasets.demo.rendering import Floats, Part, draw_photo, draw_sketch
from utils.files import with_filename
from utils.locks import folder_lock

CATEGORIES: tuple[str, ...] = tuple(sorted(SHAPES))
SPACING = 0.02  # largest distance between neighbouring points of an outline


def outline(category: str, rng: Rng) -> list[Part]:
    """Return one random instance of a category, posed in the unit square, in painter's order.

    Raises ValueError for a name that is not in CATEGORIES.
    """
    if category not in SHAPES:
        raise ValueError(f"no demo category {category!r}; available: {', '.join(CATEGORIES)}")
    return _pose(SHAPES[category](rng, rng.uniform), rng)


def sketch(category: str, rng: Rng, size: int) -> Image.Image:
    """Draw one random instance as a `size` x `size` sketch, mode "L", dark on white; errors: `outline`."""
    return draw_sketch(outline(category, rng), rng, size)


def photo(category: str, rng: Rng, size: int) -> Image.Image:
    """Draw one random instance as a `size` x `size` photo, mode "RGB"; errors: `outline`."""
    return draw_photo(outline(category, rng), rng, size)


def draw_demo(
    root: Path, *, seed: int = 0, sketches: int = 40, photos: int = 40, image_size: int = 128
) -> None:
    """Write root/photos/<category>/<nnn>.jpg and root/sketches/<category>/<nnn>.png for every category.

    `sketches` and `photos` are numbers per category (>= 1), `image_size` the side in pixels (>= 32). Every
    image has its own generator, seeded by (seed, domain, category, number): drawing fewer images does not
    change the others, and the same seed gives the same bytes with the same library versions. The set is
    written beside `root` and moved there once complete. Remains of a killed process are removed first.

    Raises FileExistsError if `root` exists, ValueError for a negative seed or a number below its minimum.
    """
    root = Path(root)
    if root.exists() or root.is_symlink():
        raise FileExistsError(
            f"{root} already exists; remove it or choose another folder for the demo data set"
        )
    if seed < 0 or sketches < 1 or photos < 1 or image_size < 32:
        raise ValueError(
            f"the demo needs seed >= 0, sketches >= 1, photos >= 1 and image_size >= 32; "
            f"got {seed}, {sketches}, {photos} and {image_size}"
        )
    workshop = root.parent / f".{root.name}-unfinished"
    with folder_lock(workshop):
        unfinished = workshop / root.name
        try:
            shutil.rmtree(unfinished, ignore_errors=True)
            _draw_all(unfinished, seed, {"sketches": sketches, "photos": photos}, image_size)
            unfinished.rename(root)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    with contextlib.suppress(OSError):  # not empty, if a killed process left files in it
        workshop.rmdir()


def _draw_all(root: Path, seed: int, counts: dict[str, int], image_size: int) -> None:
    """Draw `counts` sketches and photos of every category below `root`."""
    for domain, folder in ((SKETCH, "sketches"), (PHOTO, "photos")):
        for kind, category in enumerate(CATEGORIES):
            target = root / folder / category
            target.mkdir(parents=True)
            for number in range(counts[folder]):
                rng = np.random.default_rng([seed, domain, kind, number])
                file = io.BytesIO()  # writing to a full disk itself, Pillow hides the error
                if domain == SKETCH:
                    sketch(category, rng, image_size).save(file, "PNG")
                else:
                    picture = photo(category, rng, image_size)
                    picture.save(file, "JPEG", quality=int(rng.integers(70, 95)))
                path = target / f"{number:03d}.{'png' if domain == SKETCH else 'jpg'}"
                with with_filename(path):
                    path.write_bytes(file.getvalue())


def _pose(parts: list[Part], rng: Rng) -> list[Part]:
    """Bend, mirror, shear, rotate (up to 20 degrees), scale and shift an instance as a whole."""
    tilt, shear, stretch = np.radians(rng.uniform(-20, 20)), rng.uniform(-0.12, 0.12), rng.uniform(0.85, 1.18)
    turn = np.array([(np.cos(tilt), -np.sin(tilt)), (np.sin(tilt), np.cos(tilt))])
    pose = turn @ np.array([(rng.choice((-1, 1)) * stretch, shear), (0, 1)])
    waves, phases, bend = rng.uniform(2, 6, 2), rng.uniform(0, 2 * np.pi, 2), rng.uniform(0, 0.025)
    placed = []
    for part in parts:
        points = _subdivide(part.points, closed=not part.width)
        placed.append((points + bend * np.sin(points[:, ::-1] * waves + phases)) @ pose.T)
    everything = np.concatenate(placed)
    low, high = everything.min(axis=0), everything.max(axis=0)
    scale = rng.uniform(0.72, 0.9) / (high - low).max()
    room = np.minimum((1 - scale * (high - low)) / 2, 0.1)
    middle = 0.5 + rng.uniform(-0.8, 0.8, 2) * room
    return [
        replace(part, points=middle + scale * (points - (low + high) / 2), width=scale * part.width)
        for part, points in zip(parts, placed, strict=True)
    ]


def _subdivide(points: Floats, closed: bool) -> Floats:
    """Add points along the edges, at most SPACING apart; corners stay."""
    if closed:
        points = np.concatenate([points, points[:1]])
    edges = np.diff(points, axis=0)
    steps = np.ceil(np.linalg.norm(edges, axis=1) / SPACING).astype(int).clip(1)
    edge = np.repeat(np.arange(len(edges)), steps)
    within = np.arange(len(edge)) - np.repeat(np.cumsum(steps) - steps, steps)
    dense = points[edge] + (within / steps[edge])[:, None] * edges[edge]
    return dense if closed else np.concatenate([dense, points[-1:]])
