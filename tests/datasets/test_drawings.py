"""Drawings of every making come out dark on white, and a data set's sketches untouched."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from benchmarks.baselines import degraded
from datasets.demo.shapes import CATEGORIES, sketch
from datasets.drawings import MARGIN, clean_drawing, read_drawing
from datasets.images import read_image
from utils.errors import UserError

INVERTED = "inverted: it was light on dark"
TRIMMED = "trimmed to the drawing"
EVENED = "paper evened out"
CUT_OUT = "cut out of its dark surroundings"


def example(category: str = "cat", size: int = 256, seed: int = 0) -> Image.Image:
    return sketch(category, np.random.default_rng(seed), size)


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image)


def closed_shape(size: int = 256, width: int = 6) -> Image.Image:
    """A drawing whose place is known: an ellipse with two eyes, dark on white."""
    image = Image.new("L", (size, size), 255)
    draw = ImageDraw.Draw(image)
    box = (size * 0.1, size * 0.2, size * 0.9, size * 0.8)
    draw.ellipse(box, outline=0, width=width)
    for x in (0.35, 0.6):
        draw.ellipse((size * x, size * 0.4, size * (x + 0.05), size * 0.45), fill=0)
    return image


def framed_mask(image: Image.Image, side: int = 64) -> np.ndarray:
    """How dark each part of the drawing is, (side, side) in [0, 1], cut to its strokes: wherever it lay."""
    dark = ImageOps.invert(image).point(lambda value: value if value > 100 else 0)
    box = dark.getbbox()
    assert box is not None
    return pixels(dark.crop(box).resize((side, side), Image.Resampling.BOX)).astype(float) / 255


def likeness(one: Image.Image, other: Image.Image) -> float:
    """Correlation of two drawings, each cut to its strokes."""
    return float(np.corrcoef(framed_mask(one).ravel(), framed_mask(other).ravel())[0, 1])


@pytest.mark.parametrize("size", [64, 128, 256, 1111])
def test_sketches_of_a_data_set_are_untouched(size: int, tmp_path: Path) -> None:
    for number, category in enumerate(CATEGORIES):
        path = tmp_path / f"{category}.{'jpg' if number % 2 and size > 64 else 'png'}"
        example(category, size, number).save(path)
        found = read_drawing(path)
        assert found.notes == () and found.image.mode == "L"
        assert (pixels(found.image) == pixels(read_image(path, "L"))).all()


def test_a_small_drawing_in_a_square_of_a_data_set_is_untouched() -> None:
    """Sketchy's are as large as the thing was in its photo."""
    canvas = Image.new("L", (256, 256), 255)
    canvas.paste(example(size=40), (120, 190))
    found = clean_drawing(canvas)
    assert found.notes == () and (pixels(found.image) == pixels(canvas)).all()


def test_without_cleaning_it_is_as_read(tmp_path: Path) -> None:
    path = degraded.white_on_black(example(), np.random.default_rng(0), tmp_path / "a.png")
    found = read_drawing(path, clean=False)
    assert found.notes == () and (pixels(found.image) == pixels(read_image(path, "L"))).all()


def test_white_on_black_is_inverted_back_exactly(tmp_path: Path) -> None:
    for number, category in enumerate(CATEGORIES):
        original = example(category, 128, number)
        path = degraded.white_on_black(original, np.random.default_rng(0), tmp_path / "a.png")
        found = read_drawing(path)
        assert found.notes == (INVERTED,), category
        assert (pixels(found.image) == pixels(original)).all()


def test_ink_on_transparency_is_dark_on_white_whatever_its_colour(tmp_path: Path) -> None:
    original, rng = example(), np.random.default_rng(0)
    white = read_drawing(degraded.white_on_transparent(original, rng, tmp_path / "w.png"))
    black = read_drawing(degraded.black_on_transparent(original, rng, tmp_path / "b.png"))
    assert black.notes == () and white.notes == ("inverted: its strokes were light",)
    for found in (white, black):
        assert np.abs(pixels(found.image).astype(int) - pixels(original)).max() <= 1


def test_a_light_picture_with_transparent_corners_has_its_own_paper() -> None:
    page = closed_shape().convert("RGBA")
    page.paste((0, 0, 0, 0), (0, 0, 20, 20))
    assert clean_drawing(page).notes == ()


def test_filled_black_shapes_on_white_are_not_inverted() -> None:
    disc = Image.new("L", (300, 300), 255)
    draw = ImageDraw.Draw(disc)
    draw.ellipse((10, 10, 290, 290), fill=0)
    draw.line((60, 150, 240, 150), fill=255, width=8)
    assert pixels(disc).mean() < 128  # a mean would be misled
    assert clean_drawing(disc).notes == ()
    assert clean_drawing(ImageOps.invert(disc)).notes == (INVERTED,)
    scene = degraded.paint(1 - pixels(disc) / 255, degraded.PAPER, (0.1, 0.1, 0.12))
    photo = clean_drawing(degraded.photograph(scene, np.random.default_rng(0)))
    assert INVERTED not in photo.notes
    assert pixels(photo.image).mean() < 128 and likeness(photo.image, disc) > 0.9


def test_a_black_frame_is_taken_off(tmp_path: Path) -> None:
    original = closed_shape()
    found = read_drawing(degraded.framed_in_black(original, np.random.default_rng(0), tmp_path / "a.png"))
    assert found.notes == (CUT_OUT,)
    middle = found.image.crop((16, 16, 272, 272))
    assert (pixels(middle) == pixels(original)).all() and pixels(found.image)[0].min() == 255


PHOTOS: list[tuple[Callable[..., Path], tuple[str, ...]]] = [
    (degraded.pencil_on_paper, (EVENED, TRIMMED)),
    (degraded.pen_on_squared_paper, (EVENED, TRIMMED)),
    (degraded.sheet_on_a_table, (CUT_OUT, EVENED, TRIMMED)),
    (degraded.chalk_on_a_board, (INVERTED, EVENED, TRIMMED)),
]


@pytest.mark.parametrize(("way", "notes"), PHOTOS, ids=[way.__name__ for way, _ in PHOTOS])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_photos_come_out_black_on_white(
    way: Callable[..., Path], notes: tuple[str, ...], seed: int, tmp_path: Path
) -> None:
    original = closed_shape()
    found = read_drawing(way(original, np.random.default_rng(seed), tmp_path / "a.file"))
    assert found.notes == notes
    values = pixels(found.image)
    assert np.median(values) == 255 and values.min() == 0
    assert ((values > 60) & (values < 250)).mean() < 0.03  # no grey but at edges
    if way is not degraded.sheet_on_a_table:  # that one is turned
        assert likeness(found.image, original) > 0.85


def test_a_hard_shadow_is_not_drawn() -> None:
    ink = degraded.place_ink(degraded.ink_fraction(closed_shape(), 400), 600, 800, 100, 200)
    scene = degraded.paint(ink, degraded.PAPER, degraded.PENCIL, 0.6)
    scene[:, 430:] *= 0.55
    found = clean_drawing(degraded.photograph(scene, np.random.default_rng(0)))
    assert found.notes == (EVENED, TRIMMED) and likeness(found.image, closed_shape()) > 0.85


@pytest.mark.parametrize("size", [(1024, 768), (300, 900)])
def test_a_drawing_on_a_canvas_that_is_no_square_is_trimmed(size: tuple[int, int]) -> None:
    canvas = Image.new("L", size, 255)
    canvas.paste(example(size=200), (40, size[1] - 220))
    canvas.putpixel((size[0] - 3, 3), 0)  # a speck
    found = clean_drawing(canvas)
    assert found.notes == (TRIMMED,)
    height, width = found.image.size
    assert height == width < 250
    rows = np.flatnonzero((pixels(found.image) < 160).any(1))
    columns = np.flatnonzero((pixels(found.image) < 160).any(0))
    longer = max(np.ptp(rows), np.ptp(columns)) + 1
    assert longer == pytest.approx((1 - 2 * MARGIN) * width, abs=2)
    assert rows[0] + rows[-1] == pytest.approx(height - 1, abs=2)
    assert columns[0] + columns[-1] == pytest.approx(width - 1, abs=2)
    assert likeness(found.image, example(size=200)) > 0.98


def test_a_small_drawing_on_a_transparent_square_is_trimmed() -> None:
    canvas = Image.new("RGBA", (400, 400))
    ImageDraw.Draw(canvas).ellipse((20, 20, 120, 100), outline="black", width=4)
    found = clean_drawing(canvas)
    assert found.notes == (TRIMMED,) and found.image.width < 130


def test_a_drawing_of_dots_is_no_dust() -> None:
    canvas = Image.new("L", (800, 600), 255)
    for angle in np.linspace(0, 2 * np.pi, 30, endpoint=False):
        x, y = 300 + 100 * np.cos(angle), 300 + 100 * np.sin(angle)
        ImageDraw.Draw(canvas).ellipse((x - 3, y - 3, x + 3, y + 3), fill=0)
    found = clean_drawing(canvas)
    assert found.notes == (TRIMMED,) and 230 < found.image.width < 260  # all of the ring


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "CMYK", "I;16"])
def test_thin_lines_of_a_large_scan_survive_in_every_mode(mode: str, tmp_path: Path) -> None:
    scan = Image.new("L", (3500, 2500), 255)
    ImageDraw.Draw(scan).line([(800, 400), (2600, 600), (1500, 2100), (800, 400)], fill=0, width=3)
    path = tmp_path / ("scan.tif" if mode == "CMYK" else "scan.png")
    wide = Image.fromarray(pixels(scan).astype(np.uint16) * 257)
    (wide if mode == "I;16" else scan.convert(mode)).save(path)
    found = read_drawing(path)
    assert found.notes[-2:] == (TRIMMED, "thin lines made thicker")
    assert max(found.image.size) <= 1300
    assert (pixels(found.image.resize((64, 64), Image.Resampling.BOX)) < 160).sum() > 50  # the network's size


def test_a_large_jpeg_is_turned_by_its_tag(tmp_path: Path) -> None:
    upright = Image.new("L", (2400, 3200), 255)
    upright.paste(example("umbrella", 1600), (400, 300))
    path = degraded.turned_by_exif(upright, np.random.default_rng(0), tmp_path / "a.jpg")
    found = read_drawing(path)
    assert found.notes == (TRIMMED,) and likeness(found.image, upright) > 0.95


def test_a_picture_in_memory_is_left_alone() -> None:
    canvas = example()
    canvas.getexif()[degraded.ORIENTATION] = 6
    before = canvas.copy()
    found = clean_drawing(canvas)
    assert canvas == before
    assert (pixels(found.image) == np.rot90(pixels(before), -1)).all()


def test_no_strokes_is_said_with_the_name_of_the_file(tmp_path: Path) -> None:
    blank = degraded.paint(np.zeros((600, 800)), degraded.PAPER, degraded.PENCIL)
    pictures = {
        "white": Image.new("RGB", (300, 200), "white"),
        "black": Image.new("L", (128, 128), 0),
        "transparent": Image.new("RGBA", (300, 300)),
        "pixel": Image.new("L", (1, 1), 90),
        "sheet": degraded.photograph(blank, np.random.default_rng(0)),
        "noise": degraded.photograph(blank, np.random.default_rng(1), noise=0.08),
    }
    for name, image in pictures.items():
        image.save(tmp_path / f"{name}.png")
        with pytest.raises(UserError, match=rf"{name}\.png: the picture is empty"):
            read_drawing(tmp_path / f"{name}.png")
    with pytest.raises(UserError, match="empty"):
        clean_drawing(pictures["white"])


def test_too_many_pixels_are_refused_before_decoding(tmp_path: Path) -> None:
    path = tmp_path / "large drawing.png"
    example().save(path)
    path.write_bytes(path.read_bytes()[:200])  # would not decode
    with pytest.raises(UserError, match=r"large drawing\.png: it has 0\.1 megapixels"):
        read_drawing(path, pixels=256 * 256 - 1)
    with pytest.raises(UserError, match=r"cannot read image .*large drawing\.png"):
        read_drawing(path, pixels=256 * 256)


@pytest.mark.parametrize("clean", [True, False])
def test_no_image_is_said_with_the_name_and_no_word_of_lists(clean: bool, tmp_path: Path) -> None:
    (tmp_path / "letter.png").write_text("no image")
    for name in ("letter.png", "absent.png"):
        with pytest.raises(UserError, match=name) as caught:
            read_drawing(tmp_path / name, clean=clean)
        assert "prepare" not in str(caught.value)


def test_a_mode_that_cannot_be_grey_is_refused() -> None:
    with pytest.raises(UserError, match="La"):
        clean_drawing(Image.new("LA", (9, 9)).convert("La"))


def test_a_colour_photo_is_called_one_and_a_drawing_is_not() -> None:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    notes = clean_drawing(coarse.resize((200, 200), Image.Resampling.BICUBIC)).notes
    assert any("colour photo" in note for note in notes)
    drawing = Image.new("RGB", (200, 200), "white")
    draw = ImageDraw.Draw(drawing)
    for place, colour in enumerate(("red", "green", "blue", "orange", "purple", "brown", "cyan")):
        draw.ellipse((20 + 5 * place, 20, 160, 160 - 9 * place), outline=colour, width=4)
    assert not any("colour photo" in note for note in clean_drawing(drawing).notes)
