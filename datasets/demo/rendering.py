"""The two renderers of the demo set: an outline in, a sketch or a photo-like picture out.

They share only the outline, a list of `Part` in painter's order, so a network has to learn what sketch and
photo have in common: which parts there are and how they are arranged. Everything is drawn `OVERSAMPLING`
times larger and averaged down, since Pillow draws without anti-aliasing; shading is computed at the final
size, where it is cheap.
"""

import colorsys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

Floats = npt.NDArray[np.float64]

BODY, SECOND, DETAIL = 0, 1, 2  # tones: which colour of a photo's palette paints a part
OVERSAMPLING = 3
WHITE = 255


@dataclass(frozen=True)
class Part:
    """One piece of an outline, in the unit square with y pointing down.

    `points` is (N, 2) float64, N >= 2, spaced closely enough to be bent. `width` 0 makes it a closed area;
    a positive width, as a fraction of the picture, makes it an open stroke of that thickness. `tone` is one
    of BODY, SECOND, DETAIL.
    """

    points: Floats
    tone: int = BODY
    width: float = 0.0


def draw_sketch(parts: Sequence[Part], rng: np.random.Generator, size: int) -> Image.Image:
    """Draw an outline with an unpractised hand: near-black pen on white, nothing filled.

    Later parts hide earlier ones. The pen wobbles, leaves gaps, forgets pieces, overshoots at corners, draws
    some strokes twice and leaves a few stray ones. Returns a `size` x `size` image of mode "L".
    """
    side = size * OVERSAMPLING
    canvas = Image.new("L", (side, side), WHITE)
    draw = ImageDraw.Draw(canvas)
    pen = rng.uniform(0.010, 0.020)
    unsteadiness = rng.uniform(0.003, 0.009)
    for part in parts:
        if np.ptp(part.points, axis=0).max() < 0.12 and rng.random() < 0.15:  # a forgotten detail
            continue
        _stamp(draw, part, WHITE, side)  # paper again: hides what lies behind, without inking the inside
        for stroke in _split_strokes(part, rng):
            if np.ptp(stroke, axis=0).max() < 0.2 and rng.random() < 0.06:
                continue
            for _ in range(2 if rng.random() < 0.15 else 1):
                for piece in _cut_gap(_wobble(stroke, unsteadiness, rng), rng):
                    _ink(draw, piece, pen, side, rng)
    for _ in range(rng.integers(0, 4)):
        start, reach = rng.uniform(0.08, 0.92, 2), rng.uniform(-0.12, 0.12, 2)
        stray = start + np.linspace(0, 1, 12)[:, None] * reach
        _ink(draw, _wobble(stray, 2 * unsteadiness, rng), pen, side, rng)
    return canvas.reduce(OVERSAMPLING)


def _split_strokes(part: Part, rng: np.random.Generator) -> Iterator[Floats]:
    """Split a part where the hand would lift the pen: at corners, or anywhere on a round outline."""
    points = part.points
    if part.width:
        if part.width > 0.03 and rng.random() < 0.7:  # a thick stroke is drawn by its two sides
            along = np.gradient(points, axis=0)
            along /= np.linalg.norm(along, axis=1, keepdims=True) + 1e-9
            across = along[:, ::-1] * (part.width / 2, -part.width / 2)
            yield points + across
            yield points - across
        else:
            yield points
        return
    ahead = np.roll(points, -1, axis=0) - points
    heading = np.arctan2(ahead[:, 1], ahead[:, 0])
    turn = np.abs((heading - np.roll(heading, 1) + np.pi) % (2 * np.pi) - np.pi)
    corners = np.flatnonzero(turn > np.radians(40))
    start = int(corners[0]) if len(corners) else int(rng.integers(len(points)))
    points = np.concatenate([np.roll(points, -start, axis=0), points[start : start + 1]])
    if not len(corners):
        count = int(len(points) * rng.uniform(0.9, 1.0))  # a round outline rarely closes where it began
        yield points[: max(count, 2)]
        return
    cuts = [*(corners - start), len(points) - 1]
    for begin, end in pairwise(cuts):
        yield _overshoot(points[begin : end + 1], rng)


def _overshoot(stroke: Floats, rng: np.random.Generator) -> Floats:
    """Start before the first corner and stop after the last one, by up to 0.025 of the picture."""
    first, last = stroke[0] - stroke[1], stroke[-1] - stroke[-2]
    before = stroke[0] + first / (np.linalg.norm(first) + 1e-9) * rng.uniform(0, 0.025)
    after = stroke[-1] + last / (np.linalg.norm(last) + 1e-9) * rng.uniform(0, 0.025)
    return np.concatenate([before[None], stroke, after[None]])


def _wobble(stroke: Floats, amount: float, rng: np.random.Generator) -> Floats:
    """Displace a stroke by slow sines of its arc length, so that neighbouring points move together."""
    steps = np.linalg.norm(np.diff(stroke, axis=0), axis=1)
    travelled = np.concatenate([[0.0], np.cumsum(steps)])
    waves = rng.uniform((0.5, 2.0, 5.0), (2.0, 5.0, 9.0))[:, None]  # cycles per picture width
    phases = rng.uniform(0, 2 * np.pi, (2, 3, 1))
    drift = np.sin(2 * np.pi * waves * travelled + phases) * np.array([[1.2], [0.8], [0.3]])  # (2, 3, N)
    return stroke + amount * drift.sum(axis=1).T


def _cut_gap(stroke: Floats, rng: np.random.Generator) -> list[Floats]:
    """Cut up to a fifth out of some strokes."""
    if len(stroke) < 12 or rng.random() > 0.3:
        return [stroke]
    gap = int(len(stroke) * rng.uniform(0.05, 0.2))
    begin = int(rng.integers(1, len(stroke) - gap))
    return [piece for piece in (stroke[:begin], stroke[begin + gap :]) if len(piece) > 1]


def _ink(draw: ImageDraw.ImageDraw, stroke: Floats, pen: float, side: int, rng: np.random.Generator) -> None:
    """Draw one stroke whose width and darkness vary a little."""
    grey = int(rng.integers(0, 70))
    pressure = np.sin(np.linspace(0, rng.uniform(2, 6), len(stroke)) + rng.uniform(0, 6))
    radii = pen * side / 2 * rng.uniform(0.8, 1.2) * (1 + 0.2 * pressure)
    path = (stroke * side).tolist()
    for ((x, y), (next_x, next_y)), radius in zip(pairwise(path), radii[:-1], strict=True):
        draw.line((x, y, next_x, next_y), fill=grey, width=max(1, round(2 * radius)))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=grey)


def _stamp(draw: ImageDraw.ImageDraw, part: Part, fill: int, side: int) -> None:
    """Fill a closed part, or draw an open one at its own width with round ends."""
    path = [(float(x), float(y)) for x, y in part.points * side]
    if not part.width:
        draw.polygon(path, fill=fill)
        return
    radius = part.width * side / 2
    draw.line(path, fill=fill, width=max(1, round(2 * radius)), joint="curve")
    for x, y in (path[0], path[-1]):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)


@dataclass(frozen=True)
class _Light:
    """The direction towards the lamp, a unit vector, and how brightly each pixel is lit, (size, size)."""

    x: float
    y: float
    ramp: Floats


def draw_photo(parts: Sequence[Part], rng: np.random.Generator, size: int) -> Image.Image:
    """Paint an outline as a lit, textured, coloured object before a cluttered background.

    Colours are independent of the outline, so they carry no information about its category. Returns a `size`
    x `size` image of mode "RGB".
    """
    angle = rng.uniform(0, 2 * np.pi)
    light = _Light(np.cos(angle), np.sin(angle), 0.85 + 0.3 * _ramp(angle, size))
    canvas = _draw_background(light, rng, size)
    surroundings = canvas.mean(axis=(0, 1))
    palette: list[Floats] = []
    for _ in (BODY, SECOND, DETAIL):
        palette.append(_pick_unlike([surroundings, *palette], rng))
    textures = [_texture(rng, size) for _ in palette]
    fall = rng.uniform(0.02, 0.06) * np.array([light.x, light.y])
    masks = [_render_mask(part, size) for part in parts]
    shadow = np.maximum.reduce(
        [_render_mask(replace(part, points=part.points - fall), size) for part in parts]
    )
    canvas *= 1 - rng.uniform(0.3, 0.6) * _blur(shadow, size * rng.uniform(0.02, 0.04))[..., None]
    for part, mask in zip(parts, masks, strict=True):
        _paint(canvas, mask, palette[part.tone], textures[part.tone], light)
    canvas = canvas * rng.uniform(0.9, 1.1) + rng.normal(0, rng.uniform(0.01, 0.03), canvas.shape)
    pixels = np.round(np.clip(canvas, 0, 1) * 255).astype(np.uint8)
    return Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(size / 128 * rng.uniform(0, 0.7)))


def _draw_background(light: _Light, rng: np.random.Generator, size: int) -> Floats:
    """A blurred gradient with low-frequency noise and clutter, (size, size, 3)."""
    near, far = _pick_colour(rng), _pick_colour(rng)
    ramp = _ramp(rng.uniform(0, 2 * np.pi), size)[..., None]
    canvas = near * (1 - ramp) + (0.5 * near + 0.5 * far) * ramp
    noise = np.stack([_noise(rng, size, int(rng.integers(3, 8))) for _ in range(3)], axis=-1)
    canvas = canvas + noise * rng.uniform(0.02, 0.07) + _texture(rng, size)[..., None]
    average = canvas.mean(axis=(0, 1))
    for _ in range(rng.integers(2, 7)):
        mix = rng.uniform(0.15, 0.45)  # close to the background, or the object would not stand out
        colour = mix * _pick_colour(rng) + (1 - mix) * average
        _paint(canvas, _render_mask(_draw_clutter(rng), size), colour, _texture(rng, size), light)
    blur = size / 128 * rng.uniform(0.3, 1.8)
    return np.stack([_blur(canvas[..., channel], blur) for channel in range(3)], axis=-1)


def _draw_clutter(rng: np.random.Generator) -> Part:
    """A blob, a box or a bar, often cut by the picture's edge, that belongs to no category."""
    centre = rng.uniform(-0.05, 1.05, 2)
    kind = rng.integers(3)
    if kind == 0:
        angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        lobes = 1 + 0.25 * np.sin(rng.integers(2, 5) * angles + rng.uniform(0, 6))
        radii = rng.uniform(0.05, 0.22, 2)
        return Part(centre + lobes[:, None] * radii * np.stack([np.cos(angles), np.sin(angles)], axis=1))
    half = rng.uniform(0.05, 0.2, 2) if kind == 1 else rng.uniform((0.3, 0.01), (0.6, 0.05))
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * half + rng.uniform(-0.03, 0.03, (4, 2))
    tilt = rng.uniform(0, np.pi)
    turn = np.array([(np.cos(tilt), -np.sin(tilt)), (np.sin(tilt), np.cos(tilt))])
    return Part(centre + corners @ turn.T)


def _paint(canvas: Floats, mask: Floats, colour: Floats, texture: Floats, light: _Light) -> None:
    """Lay one lit part, with its contact shadow and highlight, over the canvas, in place."""
    size, margin = len(mask), len(mask) // 12
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return
    # Only the window around the part changes; painting the whole canvas took three times as long.
    window = tuple(slice(max(0, seen[0] - margin), seen[-1] + margin) for seen in (rows, columns))
    mask = mask[window]
    soft = _blur(mask, 0.02 * size)
    down, right = np.gradient(soft)
    slope = -(right * light.x + down * light.y) * size  # > 0 where the rounded surface faces the lamp
    shade = light.ramp[window] + 0.03 * np.clip(slope, -8, 8)
    shine = 0.5 * np.clip(slope / 12 - 0.35, 0, 0.5)
    surface = colour * shade[..., None] + (texture[window] + shine)[..., None]
    beneath = canvas[window] * ((1 - 0.35 * soft) * (1 - mask))[..., None]
    canvas[window] = beneath + np.clip(surface, 0, 1) * mask[..., None]


def _render_mask(part: Part, size: int) -> Floats:
    """Coverage of each pixel by one part, (size, size) in [0, 1]."""
    side = size * OVERSAMPLING
    stencil = Image.new("L", (side, side), 0)
    _stamp(ImageDraw.Draw(stencil), part, WHITE, side)
    return np.asarray(stencil.reduce(OVERSAMPLING), dtype=np.float64) / WHITE


def _blur(values: Floats, radius: float) -> Floats:
    image = Image.fromarray((np.clip(values, 0, 1) * 255).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(radius)), dtype=np.float64) / 255


def _ramp(angle: float, size: int) -> Floats:
    """From 0 to 1 across the picture in the direction `angle`, (size, size)."""
    axis = np.linspace(-0.5, 0.5, size)
    return 0.5 + (axis[None, :] * np.cos(angle) + axis[:, None] * np.sin(angle)) / np.sqrt(2)


def _noise(rng: np.random.Generator, size: int, cells: int) -> Floats:
    """Smooth noise of standard deviation about 1 with `cells` bumps a side, (size, size)."""
    coarse = Image.fromarray(rng.normal(size=(cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), dtype=np.float64)


def _texture(rng: np.random.Generator, size: int) -> Floats:
    """Stripes, mottling or grain to add to a surface, (size, size), centred on 0."""
    strength = rng.uniform(0.01, 0.06)
    kind = rng.integers(3)
    if kind == 0:
        return strength * np.sin(_ramp(rng.uniform(0, np.pi), size) * rng.uniform(20, 110))
    return strength * _noise(rng, size, int(rng.integers(8, 20)) if kind == 1 else size // 2)


def _pick_colour(rng: np.random.Generator) -> Floats:
    return np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.1, 0.9), rng.uniform(0.15, 1)))


def _pick_unlike(others: Sequence[Floats], rng: np.random.Generator) -> Floats:
    """Of five random colours, the one whose nearest neighbour among `others` is furthest."""
    candidates = [_pick_colour(rng) for _ in range(5)]
    return max(candidates, key=lambda colour: min(float(np.linalg.norm(colour - other)) for other in others))
