"""The contact sheet shows queries, results, hits and misses; the curves are drawn."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor

from utils.figures import HIT, MISS, SheetRow, contact_sheet, save_curves, save_png


def colours(image: Image.Image) -> set[tuple[int, ...]]:
    return set(map(tuple, np.asarray(image).reshape(-1, 3).tolist()))


def row(result_titles: list[str]) -> SheetRow:
    images = [Image.new("RGB", (40, 30), (10 * i, 99, 200)) for i in range(len(result_titles))]
    return SheetRow(Image.new("L", (50, 50), 77), "a category with a very long name", images, result_titles)


def test_hits_and_misses_are_framed_and_every_image_is_there() -> None:
    title = "a category with a very long name"
    hit, miss = ImageColor.getrgb(HIT), ImageColor.getrgb(MISS)
    heading = contact_sheet([row([])], "caption")
    sheet = contact_sheet([row([title, "cat", title]), row([title] * 3)], "caption")
    found = colours(sheet)
    assert {(77, 77, 77), (0, 99, 200), (10, 99, 200), (20, 99, 200), hit, miss} <= found
    assert sheet.width > heading.width and sheet.height > heading.height
    legend = 60  # rows of pixels above the first query
    only_hits = contact_sheet([row([title] * 3)], "caption").crop((0, legend, sheet.width, sheet.height))
    assert miss not in colours(only_hits)
    unknown = contact_sheet([replace(row([title, "cat"]), judged=False)], "caption")
    assert not {hit, miss} & colours(unknown)


def test_pictures_are_written_whole(tmp_path: Path) -> None:
    save_png(Image.new("RGB", (5, 5)), tmp_path / "a.png")
    (tmp_path / "scalars.csv").write_text("step,loss,lr\n1,2.0,0.1\n2,1.0,0.05\n")
    save_curves(tmp_path / "scalars.csv", tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as image:
        assert image.format == "PNG" and len(colours(image.convert("RGB"))) > 20
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "curves.png", "scalars.csv"]
