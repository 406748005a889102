"""Twelve categories of shapes, each a function that returns the parts of one random instance.

Proportions and the number and place of parts vary between instances. Points are in the unit square, y
downwards; `datasets.demo.shapes` adds the pose.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np

from datasets.demo.rendering import BODY, DETAIL, SECOND, Floats, Part

Rng = np.random.Generator
Uniform = Callable[[float, float], float]  # u(low, high), short for rng.uniform


def _area(*corners: tuple[float, float], tone: int = BODY) -> Part:
    return Part(np.array(corners, dtype=np.float64), tone)


def _box(left: float, top: float, right: float, bottom: float, tone: int = BODY) -> Part:
    return _area((left, top), (right, top), (right, bottom), (left, bottom), tone=tone)


def _line(*corners: tuple[float, float], width: float = 0.02, tone: int = DETAIL) -> Part:
    return Part(np.array(corners, dtype=np.float64), tone, width)


def _arc(x: float, y: float, rx: float, ry: float, start: float = 0, stop: float = 360) -> Floats:
    """Points of an ellipse from `start` to `stop` degrees, clockwise from the right, (32, 2)."""
    angles = np.radians(np.linspace(start, stop, 32, endpoint=abs(stop - start) < 360))
    return np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], axis=1)


def _ellipse(x: float, y: float, rx: float, ry: float, tone: int = BODY, tilt: float = 0) -> Part:
    """An ellipse turned by `tilt` degrees about its centre."""
    turn = np.radians(tilt)
    matrix = np.array([(np.cos(turn), -np.sin(turn)), (np.sin(turn), np.cos(turn))])
    return Part((x, y) + _arc(0, 0, rx, ry) @ matrix.T, tone)


def _blob(*knots: tuple[float, float], tone: int = BODY) -> Part:
    """A closed smooth curve through the knots (uniform Catmull-Rom)."""
    here = np.array(knots, dtype=np.float64)
    before, after, later = (np.roll(here, shift, axis=0) for shift in (1, -1, -2))
    t = np.linspace(0, 1, 10, endpoint=False)[None, :, None]
    cubic = (
        2 * here[:, None]
        + (after - before)[:, None] * t
        + (2 * before - 5 * here + 4 * after - later)[:, None] * t**2
        + (3 * here - before - 3 * after + later)[:, None] * t**3
    )
    return Part(cubic.reshape(-1, 2) / 2, tone)


def _lathe(*profile: tuple[float, float], tone: int = BODY) -> Part:
    """An upright symmetric shape from (half width, height) pairs, from top to bottom, about x = 0.5."""
    right = [(0.5 + half, y) for half, y in profile]
    return _area(*right, *((1 - x, y) for x, y in reversed(right)), tone=tone)


def _mirror(part: Part) -> Part:
    return replace(part, points=part.points * (-1, 1) + (1, 0))


def _bottle(rng: Rng, u: Uniform) -> list[Part]:
    w, neck, cap, label = u(0.13, 0.21), u(0.045, 0.075), u(0.09, 0.14), u(0.5, 0.6)
    shoulder, slope, tall = u(0.28, 0.42), u(0.05, 0.16), u(0.15, 0.3)
    body = _lathe(
        (neck, 0.1), (neck, shoulder - slope / 2), (w, shoulder + slope), (w, 0.95), (w * 0.9, 0.98)
    )
    parts = [body, _box(0.5 - neck * 1.2, 0.03, 0.5 + neck * 1.2, cap, SECOND)]
    if rng.random() < 0.8:
        parts.append(_box(0.5 - w, label, 0.5 + w, label + tall, SECOND))
        rows = label + np.array([0.06, 0.1])[: rng.integers(3)]
        parts += [_line((0.5 - w / 2, y), (0.5 + w / 2, y)) for y in rows]
    return parts


def _butterfly(rng: Rng, u: Uniform) -> list[Part]:
    top, out, low, waist, inner = u(0.08, 0.22), u(0.02, 0.1), u(0.75, 0.93), u(0.5, 0.58), u(0.12, 0.25)
    lower = [(0.48, waist), (0.4, low - 0.15), (0.28, low), (inner, low - 0.12), (0.25, waist + 0.03)]
    upper = [
        (0.48, waist),
        (0.42, 0.3),
        (0.25, top),
        (out, top + 0.05),
        (out + 0.05, 0.4),
        (0.25, waist + 0.02),
    ]
    half = [_blob(*lower, tone=SECOND), _blob(*upper)]
    for x, y in ((0.22, 0.3), (0.28, low - 0.16), (0.33, 0.42))[: rng.integers(1, 4)]:
        half.append(_ellipse(x, y, u(0.03, 0.06), u(0.03, 0.06), DETAIL))
    half.append(_line((0.49, 0.3), (0.45, 0.2), (u(0.36, 0.43), u(0.06, 0.15)), width=0.015))
    return [*half, *map(_mirror, half), _ellipse(0.5, waist, u(0.025, 0.04), u(0.2, 0.3), DETAIL)]


def _car(rng: Rng, u: Uniform) -> list[Part]:
    left, right, roof = u(0.1, 0.3), u(0.65, 0.85), u(0.24, 0.34)
    belt, rake, r = u(0.46, 0.5), u(0.06, 0.14), u(0.075, 0.105)
    parts = [_area((left, belt), (left + rake / 2, roof), (right - rake, roof), (right, belt))]
    parts.append(_area((0.02, belt), (0.9, belt), (0.98, belt + 0.06), (0.98, 0.7), (0.02, 0.7)))
    edges = np.linspace(left + rake / 2 + 0.03, right - rake - 0.01, int(rng.integers(2, 5)))
    parts += [_box(a, roof + 0.04, b - 0.02, belt - 0.02, SECOND) for a, b in pairwise(edges)]
    for x in (u(0.18, 0.26), u(0.72, 0.8)):
        parts += [_ellipse(x, 0.7, r, r, DETAIL), _ellipse(x, 0.7, r * 0.45, r * 0.45, SECOND)]
    extras = [
        _ellipse(0.94, belt + 0.09, 0.025, 0.03, SECOND),
        _line((0.45, belt + 0.06), (0.51, belt + 0.06)),
    ]
    return parts + extras[: rng.integers(3)]


def _cat(rng: Rng, u: Uniform) -> list[Part]:
    w, h, ear, tip = u(0.3, 0.4), u(0.27, 0.36), u(0.05, 0.16), u(0.12, 0.24)
    eye, spread, round_eye = u(0.03, 0.055), 0.5 - u(0.12, 0.17), u(0.8, 1.4)
    ears = [_area((0.5 - w * 0.95, 0.5), (tip, ear), (0.45, 0.34))]
    ears.append(_area((0.5 - w * 0.72, 0.42), (tip + 0.04, ear + 0.09), (0.38, 0.36), tone=SECOND))
    face = [
        _ellipse(spread, 0.55, eye, eye * round_eye, SECOND),
        _ellipse(spread, 0.55, eye / 3, eye, DETAIL),
    ]
    for rise in np.linspace(-0.06, 0.08, int(rng.integers(2, 4))):
        face.append(_line((0.38, 0.7 + rise / 3), (u(0.02, 0.12), 0.68 + rise), width=0.012))
    face.append(Part(_arc(0.46, 0.71, 0.04, u(0.02, 0.05), 0, 170), DETAIL, 0.014))
    nose = _area((0.46, 0.65), (0.54, 0.65), (0.5, 0.7), tone=DETAIL)
    return [*ears, *map(_mirror, ears), _ellipse(0.5, 0.6, w, h), *face, *map(_mirror, face), nose]


def _chair(rng: Rng, u: Uniform) -> list[Part]:
    seat, depth, skew, w = u(0.48, 0.58), u(0.1, 0.17), u(0.08, 0.2), u(0.035, 0.055)
    left, right, top, lean = u(0.15, 0.22), u(0.62, 0.72), u(0.03, 0.1), u(-0.02, 0.06)
    back, legs = seat - depth, np.array([left + 0.02, right - 0.02])
    parts = [_line((x + skew, back), (x + skew, 0.85), width=w, tone=SECOND) for x in legs]
    parts += [_line((x + skew, back), (x + skew + lean, top), width=w, tone=BODY) for x in legs]
    if rng.random() < 0.3:  # upholstered; slats otherwise
        a, b = legs + skew
        parts.append(_area((a, back - 0.08), (a + lean, top), (b + lean, top), (b, back - 0.08)))
    else:
        for share in np.linspace(0.35, 0.95, int(rng.integers(2, 5))):
            (a, b), y = legs + skew + share * lean, back + share * (top - back)
            parts.append(_line((a, y), (b, y), width=w, tone=BODY))
    parts += [_line((x, seat), (x, 0.97), width=w, tone=BODY) for x in legs]
    return [
        *parts,
        _area((left, seat), (left + skew, back), (right + skew, back), (right, seat), tone=SECOND),
    ]


def _cup(rng: Rng, u: Uniform) -> list[Part]:
    top, base, lip, y = u(0.26, 0.34), u(0.16, 0.3), u(0.05, 0.1), u(0.2, 0.3)
    handle = _arc(0.5 + 0.9 * top, u(0.45, 0.55), u(0.16, 0.24), u(0.13, 0.2), -100, 100)
    saucer = [_ellipse(0.5, 0.86, u(0.4, 0.48), 0.07, SECOND)] if rng.random() < 0.4 else []
    parts = [*saucer, Part(handle, BODY, u(0.05, 0.07))]
    parts.append(_lathe((top, y), ((top + base) / 2 * u(0.9, 1.05), 0.6), (base, 0.84), (base * 0.85, 0.88)))
    parts += [_ellipse(0.5, y, top, lip), _ellipse(0.5, y + 0.01, top * 0.85, lip * 0.7, DETAIL)]
    if rng.random() < 0.4:
        parts.append(
            _line((0.5 - top * 0.9, 0.5), (0.5, 0.53), (0.5 + top * 0.9, 0.5), width=0.04, tone=SECOND)
        )
    for x in np.linspace(0.38, 0.62, int(rng.integers(4))):  # steam
        parts.append(
            _line((x, y - 0.1), (x + 0.03, y - 0.15), (x - 0.01, y - 0.2), (x + 0.02, 0), width=0.015)
        )
    return parts


def _fish(rng: Rng, u: Uniform) -> list[Part]:
    h, tail, notch, fin = u(0.15, 0.28), u(0.12, 0.24), u(0.84, 0.93), u(0.25, 0.38)
    waist, eye = u(0.03, 0.06), u(0.02, 0.04)
    parts = [_area((0.7, 0.5), (0.98, 0.5 - tail), (notch, 0.5), (0.98, 0.5 + tail), tone=SECOND)]
    dorsal = ((fin, 0.52 - h), (fin + 0.12, 0.4 - h), (fin + 0.28, 0.47 - h), (0.66, 0.45))
    belly = ((0.42, 0.5 + h * 0.8), (0.56, 0.6 + h), (0.6, 0.5 + h * 0.5))
    parts += [_area(*corners, tone=SECOND) for corners in (dorsal, belly)[: rng.integers(1, 3)]]
    back = [(0.02, 0.52), (0.18, 0.5 - h * 0.8), (0.4, 0.5 - h), (0.74, 0.5 - waist)]
    parts.append(_blob(*back, (0.74, 0.5 + waist), (0.4, 0.5 + h), (0.16, 0.5 + h * 0.75)))
    parts += [Part(_arc(0.2, 0.5, 0.08, h * 0.7, -60, 60), DETAIL, 0.018)]
    parts += [_ellipse(0.15, 0.5 - h * 0.3, eye, eye, DETAIL)]
    stripes = np.linspace(0.36, 0.6, int(rng.integers(4)))
    return parts + [Part(_arc(x, 0.5, 0.04, h * 0.5, -70, 70), SECOND, 0.025) for x in stripes]


def _house(rng: Rng, u: Uniform) -> list[Part]:
    left, right, eaves, ridge = u(0.1, 0.2), u(0.8, 0.9), u(0.4, 0.5), u(0.08, 0.18)
    over, flat, w = u(0.03, 0.08), rng.choice((0, u(0.1, 0.3))), u(0.06, 0.08)
    door, chimney = rng.choice((0.25, 0.5, 0.75)) + u(-0.03, 0.03), u(0.62, 0.72)
    parts = [_box(chimney, u(0.04, 0.1), chimney + 0.09, eaves, DETAIL)] if rng.random() < 0.6 else []
    roof = ((left - over, eaves), (0.5 - flat, ridge), (0.5 + flat, ridge), (right + over, eaves))
    parts += [_box(left, eaves, right, 0.95), _area(*roof, tone=SECOND)]
    parts.append(_box(door - w, u(0.64, 0.72), door + w, 0.95, DETAIL))
    for x in (0.27, 0.5, 0.73):
        if abs(x - door) > 0.15 and rng.random() < 0.85:
            half, y = u(0.05, 0.075), u(0.6, 0.68)
            parts.append(_box(x - half, y - half, x + half, y + half, SECOND))
            parts += [_line((x, y - half), (x, y + half), width=0.012)]
            parts += [_line((x - half, y), (x + half, y), width=0.012)]
    return parts


def _key(rng: Rng, u: Uniform) -> list[Part]:
    r, w, end = u(0.12, 0.17), u(0.045, 0.07), u(0.92, 0.98)
    parts = [_line((0.2 + r, 0.5), (end, 0.5), width=w, tone=BODY)]
    for x in np.linspace(end - 0.02, end - u(0.14, 0.3), int(rng.integers(2, 5))):
        parts.append(_line((x, 0.5), (x, 0.5 + u(0.09, 0.17)), width=w * 0.9, tone=BODY))
    ring = _arc(0.2, 0.5, r, r * u(0.9, 1.3))
    parts.append(Part(np.concatenate([ring, ring[:1]]), BODY, u(0.05, 0.08)))
    if rng.random() < 0.6:
        parts.append(_line((0.24 + r, 0.5 - w), (0.24 + r, 0.5 + w), width=0.035, tone=SECOND))
    return parts


def _sailboat(rng: Rng, u: Uniform) -> list[Part]:
    deck, mast, top, bow, stern = u(0.7, 0.76), u(0.42, 0.56), u(0.03, 0.1), u(0.03, 0.1), u(0.88, 0.96)
    boom, x = deck - u(0.03, 0.08), np.linspace(0.04, 0.96, 40)
    parts = [_line((mast, top), (mast, deck), width=0.025)]
    parts.append(_area((mast + 0.02, top + 0.03), (u(0.78, 0.92), boom), (mast + 0.02, boom)))
    jib = _area((mast - 0.02, top + u(0.05, 0.2)), (u(0.1, 0.22), boom), (mast - 0.02, boom), tone=SECOND)
    flag = _area((mast, top - 0.02), (mast - 0.12, top + 0.02), (mast, top + 0.06), tone=DETAIL)
    parts += [jib][: rng.integers(4)] + [flag][: rng.integers(2)]
    parts.append(_area((bow, deck), (stern, deck), (u(0.74, 0.85), 0.92), (u(0.17, 0.28), 0.92), tone=SECOND))
    stripe = _line((bow + 0.08, deck + 0.07), (stern - 0.07, deck + 0.07))
    wave = Part(np.stack([x, 0.95 + 0.02 * np.sin(x * u(18, 40))], axis=1), DETAIL, 0.02)
    return parts + [stripe][: rng.integers(2)] + [wave][: rng.integers(2)]


def _snowman(rng: Rng, u: Uniform) -> list[Part]:
    low, head, reach = u(0.2, 0.26), u(0.11, 0.15), u(0.3, 0.42)
    balls = [(0.95 - low, low), (0.95 - 2 * low - head * 0.7, (low + head) / 2)][
        : 2 if rng.random() < 0.7 else 1
    ]
    waist, r = balls[-1]
    y, parts = waist - r - head * 0.75, []
    for side in (-1, 1):
        x, hand = 0.5 + side * reach, waist - u(0, 0.25)
        parts.append(_line((0.5 + side * r * 0.8, waist - 0.05), (x, hand), (x + side * 0.05, hand + 0.03)))
    parts += [_ellipse(0.5, centre, radius, radius) for centre, radius in (*balls, (y, head))]
    parts += [_ellipse(0.5 + dx, y - 0.03, 0.016, 0.018, DETAIL) for dx in (-0.05, 0.05)]
    parts.append(_area((0.5, y), (0.5 + u(0.08, 0.16), y + 0.03), (0.5, y + 0.045), tone=SECOND))
    buttons = np.linspace(-0.06, 0.06, int(rng.integers(4)))
    parts += [_ellipse(0.5, waist + rise, 0.018, 0.018, DETAIL) for rise in buttons]
    if rng.random() < 0.75:
        brim, w = y - head * 0.75, head * 0.65
        parts.append(_box(0.5 - w, brim - u(0.1, 0.16), 0.5 + w, brim, SECOND))
        parts.append(_line((0.5 - head * 1.1, brim), (0.5 + head * 1.1, brim), width=0.03))
    return parts


def _umbrella(rng: Rng, u: Uniform) -> list[Part]:
    w, top, brim, depth = u(0.4, 0.48), u(0.08, 0.2), u(0.44, 0.54), u(0.03, 0.06)
    hook, end, rib = u(0.06, 0.1), u(0.82, 0.9), np.linspace(0, np.pi / 2, 12)
    bend = _arc(0.5 - hook, end, hook, hook, 0, u(140, 190))
    stick = Part(np.concatenate([[(0.5, top - 0.06)], bend]), DETAIL, u(0.025, 0.04))
    dome, edges = _arc(0.5, brim, w, brim - top, 180, 360), np.linspace(0.5 + w, 0.5 - w, rng.integers(4, 8))
    scallops = [_arc((a + b) / 2, brim, (a - b) / 2, -depth, 0, 180)[1:] for a, b in pairwise(edges)]
    parts = [stick, Part(np.concatenate([dome, *scallops]))]
    for x in edges[1:-1]:
        bow = np.stack([0.5 + (x - 0.5) * np.sin(rib), brim - (brim - top) * np.cos(rib)], axis=1)
        parts.append(Part(bow, SECOND, 0.014))
    return parts


SHAPES: dict[str, Callable[[Rng, Uniform], list[Part]]] = {
    "bottle": _bottle,
    "butterfly": _butterfly,
    "car": _car,
    "cat": _cat,
    "chair": _chair,
    "cup": _cup,
    "fish": _fish,
    "house": _house,
    "key": _key,
    "sailboat": _sailboat,
    "snowman": _snowman,
    "umbrella": _umbrella,
}
