"""Every kind of image file and of file name: read right or refused by name, alone and through all phases."""

import json
import os
import struct
import unicodedata
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.images import read_image
from datasets.transforms import photo_test, sketch_test, sketch_train
from tests.conftest import CATEGORIES, SMALL_RUN
from utils.errors import UserError

SIDE = 32
WHITE = 255
GREY = np.add.outer(np.arange(SIDE) * 4, np.arange(SIDE) * 3).astype(np.uint8)  # no two corners alike
COLOUR = np.stack([GREY, GREY[::-1], GREY.T // 2], axis=2)
BITS = GREY > 100
INK = (GREY > 60) & (GREY < 160)
grey, colour = Image.fromarray(GREY), Image.fromarray(COLOUR)

FIRST, SECOND = (200, 10, 30), (0, 90, 250)  # colours of the palette, the second where INK is
TWO = np.where(INK[..., None], SECOND, FIRST).astype(np.uint8)
CLEAR = np.where(INK[..., None], WHITE, FIRST).astype(np.uint8)  # with the second transparent
DRAWN = np.where(INK, 0, WHITE).astype(np.uint8)  # black ink on clear paper, laid on white


def palette() -> Image.Image:
    image = Image.fromarray(INK.astype(np.uint8))
    image.putpalette([*FIRST, *SECOND])
    return image


def transparent(mode: str) -> Image.Image:
    """Black where INK is, and nothing elsewhere."""
    image = Image.new(mode, (SIDE, SIDE))
    image.putalpha(Image.fromarray((INK * WHITE).astype(np.uint8)))
    return image


def sixteen(order: str) -> Image.Image:
    wide = (GREY.astype(np.uint32) * 257).astype(f"{order}u2")
    return Image.frombytes("I;16" if order == "<" else "I;16B", (SIDE, SIDE), wide.tobytes())


def frames(first: Image.Image) -> dict:
    return {"save_all": True, "append_images": [Image.new(first.mode, first.size)], "duration": 100}


BEST = {"quality": 100, "subsampling": 0}

# what is saved and how, what is to be seen then, and by how much that may differ
KINDS: dict[str, tuple[Image.Image, dict, np.ndarray, int]] = {
    "bits.png": (Image.fromarray(BITS), {}, BITS * WHITE, 0),
    "bits.tif": (Image.fromarray(BITS), {"compression": "group4"}, BITS * WHITE, 0),
    "grey.png": (grey, {}, GREY, 0),
    "colour.png": (colour, {}, COLOUR, 0),
    "upper.PNG": (colour, {}, COLOUR, 0),
    "colour.bmp": (colour, {}, COLOUR, 0),
    "colour.tiff": (colour, {"compression": "tiff_lzw"}, COLOUR, 0),
    "colour.webp": (colour, {"lossless": True}, COLOUR, 0),
    "sixteen.png": (sixteen("<"), {}, GREY, 0),
    "sixteen.tif": (sixteen("<"), {}, GREY, 0),
    "sixteen-big-endian.tif": (sixteen(">"), {}, GREY, 0),
    "palette.png": (palette(), {}, TWO, 0),
    "palette.gif": (palette(), {}, TWO, 0),
    "palette-clear.png": (palette(), {"transparency": 1}, CLEAR, 0),
    "palette-clear-bytes.png": (palette(), {"transparency": b"\xff\x00"}, CLEAR, 0),
    "palette-clear.gif": (palette(), {"transparency": 1}, CLEAR, 0),
    "la.png": (transparent("L"), {}, DRAWN, 0),
    "la.tif": (transparent("L"), {}, DRAWN, 0),
    "rgba.png": (transparent("RGB"), {}, DRAWN, 0),
    "rgba.webp": (transparent("RGB"), {"lossless": True}, DRAWN, 0),
    "cmyk.tif": (colour.convert("CMYK"), {}, COLOUR, 0),
    "cmyk-inverted.jpg": (colour.convert("CMYK"), BEST, COLOUR, 6),  # as Adobe's programs and Pillow do
    "plain.JPEG": (colour, BEST, COLOUR, 6),
    "progressive.jpg": (colour, {**BEST, "progressive": True}, COLOUR, 6),
    "animated.gif": (grey, frames(grey), GREY, 0),
    "animated.webp": (colour, {**frames(colour), "lossless": True}, COLOUR, 0),
    "animated.png": (colour, frames(colour), COLOUR, 0),
    "pages.tif": (colour, frames(colour), COLOUR, 0),
}

# how what is stored must be turned to be seen upright, by its EXIF tag
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).T,
    8: np.rot90,
}


def in_grey(pixels: np.ndarray) -> np.ndarray:
    """By ITU-R 601-2, as Pillow documents it for its mode L."""
    return pixels if pixels.ndim == 2 else pixels @ np.array([0.299, 0.587, 0.114])


def check(path: Path, expected: np.ndarray, tolerance: int) -> None:
    """As a sketch and as a photo, the file shows `expected`."""
    sketch, photo = (np.asarray(read_image(path, mode)).astype(int) for mode in ("L", "RGB"))
    assert sketch.shape == expected.shape[:2] and photo.shape == (*expected.shape[:2], 3)
    assert np.abs(sketch - in_grey(expected)).max() <= tolerance + 1
    whole = expected if expected.ndim == 3 else np.repeat(expected[..., None], 3, axis=2)
    assert np.abs(photo - whole.astype(int)).max() <= tolerance


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_shows_what_was_saved(tmp_path: Path, name: str) -> None:
    image, options, expected, tolerance = KINDS[name]
    image.save(tmp_path / name, **options)
    check(tmp_path / name, expected, tolerance)


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
def test_every_exif_rotation_is_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    wide = Image.fromarray(GREY[:20])
    options = {"jpg": BEST, "webp": {"lossless": True}}.get(suffix, {})
    wide.convert("RGB").save(tmp_path / f"turned.{suffix}", exif=exif, **options)
    check(tmp_path / f"turned.{suffix}", UPRIGHT[orientation](GREY[:20]), 4 if suffix == "jpg" else 0)


def interlaced(pixels: np.ndarray) -> bytes:
    """A grey PNG in Adam7's seven passes, which Pillow reads but does not write."""
    passes = [
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    ]
    rows = b""
    for top, left, down, across in passes:
        for row in pixels[top::down, left::across]:
            rows += b"\0" + row.tobytes()
    return png(*pixels.shape[::-1], zlib.compress(rows), interlace=1)


def png(width: int, height: int, data: bytes, *, interlace: int = 0) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, interlace)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_an_interlaced_png(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(interlaced(GREY))
    check(tmp_path / "a.png", GREY, 0)


@pytest.mark.parametrize("size", [(1, 1), (20_000, 10), (10, 20_000)])
def test_extreme_sizes_reach_the_network(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("L", size, 200).save(tmp_path / "a.png")
    sketch, photo = (read_image(tmp_path / "a.png", mode) for mode in ("L", "RGB"))
    assert sketch.size == size
    for transform, image in ((sketch_test(32), sketch), (sketch_train(32), sketch), (photo_test(32), photo)):
        found = transform(image)
        assert found.shape == (3, 32, 32) and found.isfinite().all()
    assert (photo_test(32)(photo) * 255).round().unique().tolist() == [200]


NAMES = {
    "spaces": "two words.png",
    "composed": unicodedata.normalize("NFC", "café.png"),
    "decomposed": unicodedata.normalize("NFD", "café.png"),
    "quotes": """it's "quoted".png""",
    "line break": "two\nlines.png",
    "terminal": "\x1b[31mred\t.png",
    "longest": "n" * 251 + ".png",
    "astral": "🐻 и 猫.PNG",
    "patterns": "*[a-z]?.Png",
    "formats": "%s {0} $HOME.png",
    "dashes": "--force=1.png",
}

BROKEN = {
    "empty.png": b"",
    "text.png": b"this is a text, not an image\n" * 20,
    "bomb.png": png(30_000, 30_000, b""),
    "large.png": png(10_000, 10_000, zlib.compress(b"\0" * 10_001 * 10_000)),  # 100 megapixels in 97 kB
    "postscript.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n",
}


def make_broken(folder: Path) -> list[str]:
    """Files that are to be refused; their names."""
    others = {path.name for path in folder.iterdir()}
    for name, content in BROKEN.items():
        (folder / name).write_bytes(content)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    for suffix in ("png", "jpg", "gif", "bmp", "tif", "webp"):
        noise.save(folder / f"half.{suffix}")
        whole = (folder / f"half.{suffix}").read_bytes()
        (folder / f"half.{suffix}").write_bytes(whole[: len(whole) // 2])
    Image.fromarray(GREY / np.float32(WHITE)).save(folder / "float.tif")
    Image.fromarray(GREY.astype(np.int32) * 2**20).save(folder / "integers.tif")
    os.mkfifo(folder / "pipe.png")
    (folder / "folder.png").mkdir()
    (folder / "nowhere.png").symlink_to("absent.png")
    return sorted({path.name for path in folder.iterdir()} - others)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # as main.py does
def test_what_is_broken_is_refused_by_name(tmp_path: Path) -> None:
    names = make_broken(tmp_path)
    assert len(names) == 16
    for name in names:
        for mode in ("L", "RGB"):
            with pytest.raises(UserError, match=f"cannot read image .*{name}: .*; repair it"):
                read_image(tmp_path / name, mode)
    for name, reason in (
        ("large.png", "100.0 megapixels, more than 89.5"),
        ("pipe.png", "not a regular file"),
        ("float.tif", "floating point"),
        ("integers.tif", "32-bit"),
    ):
        with pytest.raises(UserError, match=reason):
            read_image(tmp_path / name, "L")


@pytest.mark.parametrize("name", NAMES)
def test_names_of_files(tmp_path: Path, name: str) -> None:
    grey.save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / NAMES[name])
    check(tmp_path / NAMES[name], GREY, 0)


def make_data_set(root: Path) -> int:
    """Three categories with all kinds, sizes and names as sketches and as photos; how many in all."""
    for domain in ("sketches", "photos"):
        for number, category in enumerate(CATEGORIES):
            folder = root / domain / category
            folder.mkdir(parents=True)
            for name in list(KINDS)[number :: len(CATEGORIES)]:
                image, options, _, _ = KINDS[name]
                image.save(folder / name, **options)
            for name in list(NAMES.values())[number :: len(CATEGORIES)]:
                grey.save(folder / "a.png")
                (folder / "a.png").rename(folder / name)
        (root / domain / "cat/interlaced.png").write_bytes(interlaced(GREY))
        for size in ((1, 1), (20_000, 10)):
            Image.new("L", size).save(root / domain / f"cat/{size[0]}.png")
    return 2 * (len(KINDS) + len(NAMES) + 3)


def test_all_of_them_through_all_phases(tmp_path: Path, zygote) -> None:
    root = tmp_path / "datasets/data/tiny"
    count = make_data_set(root)
    common = ["--dataset=tiny", "--anno_path=anno", "--num_workers=1", "--device=cpu"]
    small = [each for each in SMALL_RUN if not each.startswith(("--num_steps", "--annealing"))]
    queries = [root / f"sketches/cat/{name}.png" for name in ("interlaced", "20000", "1")]
    commands = {
        "prepare": ["--test_per_category=5"],
        "train": [*small, "--num_steps=20", "--annealing_step=2"],
        "test": ["--save_path=run"],
        "index": ["--save_path=run"],
        "search": ["--save_path=run", "--query", *map(str, queries)],
    }

    def run(phase: str, *more: str) -> tuple[int | None, str]:
        done = zygote.run(tmp_path, f"--phase={phase}", *common, *commands[phase], *more)
        assert "Warning" not in done.text() and "Traceback" not in done.text(), done.text()
        return done.status, done.text()

    for phase in commands:
        status, text = run(phase)
        if phase == "search":  # the two sizes are of one colour
            assert status == 2 and text.count("the picture is empty") == 2 and "photos/cat/" in text
            continue
        assert status == 0, text
        if phase == "prepare":
            assert f"unreadable images: 0 of {count}" in text
    (record,) = json.loads((tmp_path / "logs/run/log/result.json").read_text())
    assert record["counts"]["queries"] == 15 and record["counts"]["gallery"] == count // 2
    broken = make_broken(root / "photos/cat")
    status, text = run("prepare", "--force")
    assert status == 2 and f"{len(broken)} images cannot be read" in text
    for name in broken:
        assert f"unreadable: datasets/data/tiny/photos/cat/{name} (" in text
    status, text = run("prepare", "--force", "--skip_unreadable")
    assert status == 0, text
    listed = (tmp_path / "anno/tiny_photo.json").read_text()
    assert not any(f"photos/cat/{name}" in listed for name in broken)
