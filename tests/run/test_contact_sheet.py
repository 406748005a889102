"""Contact sheets: every image with its name, frames and a legend only where categories are known."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageColor, ImageDraw

from run import contact_sheet as sheets
from run.contact_sheet import HIT, MISS, Cell, SheetRow, contact_sheet, load_font, save_png, shorten, wrap


def colours(image: Image.Image) -> set[tuple[int, ...]]:
    return set(map(tuple, np.asarray(image).reshape(-1, 3).tolist()))


def row(categories: list[str | None], query: str | None = "cat") -> SheetRow:
    results = [
        Cell(Image.new("RGB", (40, 30), (10 * number, 99, 200)), f"photo {number}.jpg", category)
        for number, category in enumerate(categories)
    ]
    return SheetRow(Cell(Image.new("L", (50, 50), 77), "my drawing.png", query), results)


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is written on a sheet."""
    written: list[str] = []
    text = ImageDraw.ImageDraw.text

    def remember(draw, corner, words, *arguments, **options):
        written.append(words)
        return text(draw, corner, words, *arguments, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", remember)
    return written


def test_hits_and_misses_are_framed_and_every_image_is_there_with_its_names(words: list[str]) -> None:
    hit, miss = ImageColor.getrgb(HIT), ImageColor.getrgb(MISS)
    sheet = contact_sheet([row(["cat", "dog", "cat"]), row(["cat"])], "a  caption")
    assert {(77, 77, 77), (0, 99, 200), (10, 99, 200), (20, 99, 200), hit, miss} <= colours(sheet)
    assert words[0] == "a  caption" and {"my drawing.png", "photo 0.jpg", "photo 2.jpg", "dog"} <= set(words)
    empty = contact_sheet([row([])], "a  caption")
    assert sheet.width > empty.width and sheet.height > empty.height


@pytest.mark.parametrize(
    ("categories", "query", "legend"),
    [
        (["cat", "dog"], "cat", {"framed blue: same category", "dashed orange: other category"}),
        (["cat", "cat"], "cat", {"framed blue: same category"}),
        (["dog"], "cat", {"dashed orange: other category"}),
        (["dog"], None, set()),
        ([None], None, set()),
    ],
)
def test_the_legend_has_what_the_sheet_has(words: list[str], categories, query, legend: set[str]) -> None:
    sheet = contact_sheet([row(categories, query)], "caption")
    assert {each for each in words if "category" in each} == legend
    drawn = {ImageColor.getrgb(HIT), ImageColor.getrgb(MISS)} & colours(sheet)
    assert len(drawn) == len(legend)


def test_any_script_of_the_font_is_drawn() -> None:
    font = load_font(14)
    missing = font.getmask("\uf8ff").getbbox(), bytes(font.getmask("\uf8ff"))
    for letter in "äßñžøłČРяЖαΩאשعبქ→€":
        assert (font.getmask(letter).getbbox(), bytes(font.getmask(letter))) != missing, letter


def test_captions_are_broken_and_keep_their_spaces() -> None:
    font = load_font(14)
    line = "two  spaces and more words " * 5 + "x" * 200
    parts = wrap(line, font, 300)
    assert "".join(parts) == line and all(font.getlength(part.rstrip()) <= 300 for part in parts)
    assert wrap("a\tb\x1b", font, 300) == ["a\\tb\\x1b"]


def test_long_names_keep_their_ends() -> None:
    font = load_font(11)
    name = "n02391049_a very long name of a file_2380.jpg"
    short = shorten(name, font, 100)
    assert font.getlength(short) <= 100 and short.startswith("n02") and short.endswith(".jpg")
    assert shorten("a.png", font, 100) == "a.png" and shorten("日本語.jpg", font, 100) == "日本語.jpg"


def test_pictures_of_any_shape_fit(tmp_path: Path) -> None:
    thin = Cell(Image.new("RGB", (5000, 3), "red"), "thin.png")
    sheet = contact_sheet([SheetRow(thin, [thin])], "")
    save_png(sheet, tmp_path / "a.png")
    assert (255, 0, 0) in colours(sheet) and [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert sheet.width == 2 * sheets.MARGIN + 2 * sheets.PITCH + sheets.GAP
