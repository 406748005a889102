"""Every kind of image file is read right or refused by name."""

import pickle
import random
import struct
import zlib
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from datasets.drawings import read_drawing
from datasets.images import FORMATS, UnreadableImage, count_pixels, read_image
from datasets.readable import find_unreadable
from utils.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # of odd metadata, as main.py does

GREY = np.tile(np.linspace(0, 255, 16, dtype=np.uint8), (8, 1))  # (8, 16)


def read(image: Image.Image, path: Path, mode: str, **options: object) -> np.ndarray:
    image.save(path, **options)
    return np.asarray(read_image(path, mode))


def test_plain_grey_and_rgb_are_unchanged(tmp_path: Path) -> None:
    colour = np.random.default_rng(0).integers(0, 256, (8, 16, 3), dtype=np.uint8)
    assert (read(Image.fromarray(GREY), tmp_path / "a.png", "L") == GREY).all()
    assert (read(Image.fromarray(colour), tmp_path / "b.png", "RGB") == colour).all()


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    for mode in ("RGBA", "LA"):
        ink = Image.new(mode, (4, 4), (0,) * len(mode))  # black, all transparent
        assert (read(ink, tmp_path / f"{mode}.png", "L") == 255).all()
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 200, 10, 10])
    assert (read(palette, tmp_path / "p.png", "RGB") == (200, 10, 10)).all()
    assert (read(palette, tmp_path / "t.png", "RGB", transparency=1) == 255).all()


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    wide = Image.fromarray(GREY.astype(np.uint16) * 257)
    assert wide.mode == "I;16"
    found = read(wide, tmp_path / "wide.png", "L").astype(int)
    assert np.abs(found - GREY).max() <= 1
    big_endian = Image.frombytes("I;16B", (16, 8), (GREY.astype(">u2") * 257).tobytes())
    assert np.abs(read(big_endian, tmp_path / "wide.tif", "L").astype(int) - GREY).max() <= 1


def test_one_bit_cmyk_and_animation(tmp_path: Path) -> None:
    bits = read(Image.fromarray(GREY > 127), tmp_path / "bits.png", "L")
    assert (bits == np.where(GREY > 127, 255, 0)).all()
    cmyk = read(Image.new("CMYK", (4, 4), (0, 255, 255, 0)), tmp_path / "c.jpg", "RGB")
    assert cmyk[0, 0, 0] > 200 and cmyk[0, 0, 1] < 60
    frames = [Image.new("L", (4, 4), value) for value in (10, 200)]
    first = read(frames[0], tmp_path / "a.gif", "L", save_all=True, append_images=frames[1:])
    assert (first == 10).all()


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    assert read(Image.fromarray(GREY), tmp_path / "r.jpg", "L", exif=exif).shape == (16, 8)


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_files_that_are_no_images(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken name.png"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"broken name\.png"):
        read_image(path, "L")


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_truncated_files(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cut.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-600])
    with pytest.raises(UserError, match=f"cut.{suffix}"):
        read_image(path, "L")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.png"):
        read_image(tmp_path / "absent.png", "L")


def test_a_decompression_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (100, 100)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(UserError, match="decompression bomb"):
        read_image(tmp_path / "bomb.png", "L")


WIDE = Image.new("RGB", (48, 32), "white")
WIDE.paste((0, 0, 0), (0, 0, 8, 32))  # black at the left
STORED = WIDE.transpose(Image.Transpose.ROTATE_90)  # upright by orientation 6
SHORT, LONG, RATIONAL, ASCII, SRATIONAL, SLONG, FLOAT = 3, 4, 5, 2, 10, 9, 11


Entry = tuple[int, int, int, bytes]  # tag, type, count, value


def exif_block(*entries: Entry, orientation: tuple[int, int, bytes] = (SHORT, 1, b"\6")) -> bytes:
    """Little-endian EXIF with an orientation, 6 by default, and `entries`."""
    entries = ((0x0112, *orientation), *entries)
    table, values, start = b"", b"", 8 + 2 + 12 * len(entries) + 4
    for tag, kind, count, value in sorted(entries):
        table += struct.pack("<HHI", tag, kind, count)
        table += value.ljust(4, b"\0") if len(value) <= 4 else struct.pack("<I", start + len(values))
        values += value if len(value) > 4 else b""
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + struct.pack("<I", 0) + values


STRANGE_ENTRIES = {
    "DateTime FLOAT": (0x0132, FLOAT, 1, struct.pack("<f", 1.5)),
    "Make RATIONAL": (0x010F, RATIONAL, 1, struct.pack("<II", 1, 2)),
    "Software FLOAT": (0x0131, FLOAT, 1, struct.pack("<f", 1.5)),
    "Copyright SLONG": (0x8298, SLONG, 1, struct.pack("<i", -1)),
    "XResolution SRATIONAL": (0x011A, SRATIONAL, 1, struct.pack("<ii", -72, 1)),
    "XResolution ASCII": (0x011A, ASCII, 6, b"72dpi\0"),
    "YResolution of 0": (0x011B, RATIONAL, 1, struct.pack("<II", 0, 0)),
    "ResolutionUnit RATIONAL": (0x0128, RATIONAL, 1, struct.pack("<II", 2, 1)),
    "ImageWidth SLONG": (0x0100, SLONG, 1, struct.pack("<i", -48)),
    "ImageWidth FLOAT": (0x0100, FLOAT, 1, struct.pack("<f", 48)),
    "GPS at no offset": (0x8825, LONG, 1, struct.pack("<I", 2**32 - 1)),
    "GPS FLOAT": (0x8825, FLOAT, 1, struct.pack("<f", 1.5)),
    "unknown type": (0x0110, 99, 1, b"abcd"),
    "huge count": (0x0131, ASCII, 2**32 - 1, b"abcd"),
}
XMP = (
    b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF><rdf:Description tiff:Orientation=\"6\" "
    b'dc:creator="Fran\xe7ois"/></rdf:RDF></x:xmpmeta>'
)


def png_text(kind: bytes, content: bytes, image: Image.Image) -> bytes:
    """A PNG with one more chunk, after its header."""
    file = BytesIO()
    image.save(file, "PNG")
    chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return file.getvalue()[:33] + chunk + file.getvalue()[33:]


def raw_profile(content: bytes) -> bytes:
    return b"Raw profile type exif\0\nexif\n%8d\n" % len(content) + content.hex().encode() + b"\n"


def files_with(block: bytes) -> dict[str, bytes]:
    """STORED in every format that holds EXIF, with this block."""
    found = {"eXIf.png": png_text(b"eXIf", block, STORED)}
    found["raw.png"] = png_text(b"tEXt", raw_profile(b"Exif\0\0" + block), STORED)
    more: dict[str, dict] = {"JPEG": {"quality": 95}, "MPO": {"save_all": True, "append_images": [STORED]}}
    for form, options in (more | {"WEBP": {"lossless": True}}).items():
        file = BytesIO()
        exif = block if form == "WEBP" else b"Exif\0\0" + block
        STORED.save(file, form, exif=exif, **options)
        found[form] = file.getvalue()
    return found


def tiff_with(tag: int, kind: int, value: bytes) -> bytes:
    """STORED as a TIFF with one more tag."""
    file = BytesIO()
    STORED.save(file, "TIFF")
    data = file.getvalue()
    (start,) = struct.unpack("<I", data[4:8])
    (count,) = struct.unpack("<H", data[start : start + 2])
    table = [data[start + 2 + 12 * row : start + 14 + 12 * row] for row in range(count)]
    table.append(struct.pack("<HHII", tag, kind, len(value), len(data)))
    table.sort(key=lambda row: struct.unpack("<H", row[:2]))
    body = struct.pack("<H", len(table)) + b"".join(table) + struct.pack("<I", 0)
    return data[:4] + struct.pack("<I", len(data) + len(value)) + data[8:] + value + body


def assert_upright(path: Path) -> None:
    """By all readers, of data sets and of drawings."""
    for mode in ("L", "RGB"):
        pixels = np.asarray(read_image(path, mode).convert("L")).astype(int)
        assert pixels.shape == (32, 48), path.name
        assert np.abs(pixels - np.asarray(WIDE.convert("L"))).max() <= 12
    as_it_is = read_drawing(path, clean=False).image
    assert as_it_is.size == (48, 32) and as_it_is.mode == "L"
    assert read_drawing(path).notes and find_unreadable(path.parent, [path.name], workers=1) == []


@pytest.mark.parametrize("name", STRANGE_ENTRIES)
def test_exif_of_unexpected_types_turns_a_picture_and_does_nothing_else(tmp_path: Path, name: str) -> None:
    for form, content in files_with(exif_block(STRANGE_ENTRIES[name])).items():
        (tmp_path / form).write_bytes(content)
        assert_upright(tmp_path / form)


@pytest.mark.parametrize(
    "block", [b"garbage", b"", b"Exif\0\0", b"II*\0" + b"\xff" * 4, b"MM\0*" + b"\xff" * 40]
)
def test_exif_that_is_none_means_upright(tmp_path: Path, block: bytes) -> None:
    for form, content in files_with(block).items():
        (tmp_path / form).write_bytes(content)
        assert read_image(tmp_path / form, "L").size == STORED.size
    no_hexadecimals = b"Raw profile type exif\0\nexif\n10\nzzzz\n"
    (tmp_path / "raw.png").write_bytes(png_text(b"tEXt", no_hexadecimals, STORED))
    assert read_image(tmp_path / "raw.png", "L").size == STORED.size


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [
        ((LONG, 1, b"\6"), True),
        ((SHORT, 2, b"\6\0\6\0"), True),
        ((ASCII, 2, b"6\0"), False),
        ((SHORT, 1, b"\x63"), False),
        ((RATIONAL, 1, struct.pack("<II", 1, 0)), False),
    ],
)
def test_an_orientation_of_another_type(tmp_path: Path, orientation: tuple, turned: bool) -> None:
    for form, content in files_with(exif_block(orientation=orientation)).items():
        (tmp_path / form).write_bytes(content)
        assert read_image(tmp_path / form, "L").size == (WIDE if turned else STORED).size


@pytest.mark.parametrize("kind", [1, 2, 7, 4])
def test_xmp_of_any_type_turns_a_tiff(tmp_path: Path, kind: int) -> None:
    (tmp_path / "a.tif").write_bytes(tiff_with(700, kind, XMP))
    if kind == 4:  # numbers of four bytes: no text
        assert read_image(tmp_path / "a.tif", "L").size == STORED.size
    else:
        assert_upright(tmp_path / "a.tif")


def test_xmp_that_is_not_utf8_turns_other_formats(tmp_path: Path) -> None:
    STORED.save(tmp_path / "a.jpg", xmp=XMP, quality=95)
    STORED.save(tmp_path / "a.webp", xmp=XMP, lossless=True)
    text = b"XML:com.adobe.xmp\0\0\0\0\0" + XMP.replace(b"\xe7", b"c")
    (tmp_path / "a.png").write_bytes(png_text(b"iTXt", text, STORED))
    for name in ("a.jpg", "a.webp", "a.png"):
        assert_upright(tmp_path / name)


def test_a_tiff_with_strange_metadata_is_read(tmp_path: Path) -> None:
    for tag in (0x8769, 0x8825, 0xA005, 0x0132, 0x8649, 0x83BB, 700):
        for kind in (1, 2, 3, 4, 5, 7, 9, 11, 12):
            (tmp_path / "a.tif").write_bytes(tiff_with(tag, kind, b"\xff\xfe\xfd\xfc" * 6))
            assert read_image(tmp_path / "a.tif", "RGB").size == STORED.size


def test_damaged_metadata_never_costs_the_picture(tmp_path: Path) -> None:
    """Orientation apart, what is seen is what was stored, whatever stands in its EXIF block."""
    draw = random.Random(0)
    for _ in range(150):
        block = bytearray(exif_block(*draw.sample(list(STRANGE_ENTRIES.values()), 3)))
        for _ in range(draw.choice((0, 1, 3, 8))):
            block[draw.randrange(len(block))] = draw.choice((0, 1, 255, draw.randrange(256)))
        whole = files_with(bytes(block[: draw.choice((len(block), draw.randrange(len(block))))]))
        for form, content in whole.items():
            (tmp_path / form).write_bytes(content)
            assert sorted(read_image(tmp_path / form, "L").size) == sorted(STORED.size)


def test_whatever_a_damaged_file_makes_pillow_raise_it_is_unreadable_by_name(tmp_path: Path) -> None:
    """Files of all formats with a few bytes changed anywhere: read, or the one error with the file's name."""
    draw, path, refused = random.Random(0), tmp_path / "damaged file", 0
    good = list(files_with(exif_block(STRANGE_ENTRIES["Make RATIONAL"])).values())
    for form in FORMATS:
        for mode in ("RGB", "P"):
            file = BytesIO()
            (WIDE if mode == "RGB" or form in ("JPEG", "WEBP") else WIDE.convert("P")).save(file, form)
            good.append(file.getvalue())
    for _ in range(1500):
        content = bytearray(draw.choice(good))
        for _ in range(draw.choice((1, 2, 6))):
            place = min(draw.randrange(len(content)) for _ in range(2))
            content[place] = draw.choice((0, 1, 255, draw.randrange(256)))
        path.write_bytes(content)
        readers = (lambda: read_image(path, "L"), lambda: read_image(path, "RGB"), lambda: count_pixels(path))
        for read in (*readers, lambda: read_drawing(path, clean=False)):
            try:
                read()
            except UnreadableImage as error:
                refused += 1
                assert "damaged file: " in str(error) and "\n" not in str(error) and error.reason
    assert refused > 600


def test_what_pillow_raises_is_one_error_for_one_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    for kind in (AssertionError, AttributeError, RuntimeError, NotImplementedError, MemoryError):

        def fail(*_: object, kind: type[Exception] = kind) -> None:
            raise kind

        with monkeypatch.context() as patch:
            patch.setattr("PIL.ImageFile.ImageFile.load", fail)
            with pytest.raises(UnreadableImage, match=r"cannot read image .*a\.png: it .*; repair") as caught:
                read_image(tmp_path / "a.png", "L")
    copy = pickle.loads(pickle.dumps(caught.value))  # as between processes
    assert str(copy) == str(caught.value) and copy.reason == caught.value.reason


def test_an_alpha_channel_that_a_bmp_leaves_empty_is_opaque(tmp_path: Path) -> None:
    """Windows and its clipboard write 32 bits a pixel, and 0 for alpha."""
    width, height = WIDE.size
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    for alpha, dark in ((0, 0), (255, 0)):
        pixels = WIDE.convert("RGBA")
        pixels.putalpha(alpha)
        rows = np.asarray(pixels)[::-1, :, [2, 1, 0, 3]].tobytes()
        head = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, 3, len(rows), 2835, 2835, 0, 0)
        info = head + masks + b"BGRs" + bytes(48)
        whole = b"BM" + struct.pack("<IHHI", 14 + len(info) + len(rows), 0, 0, 14 + len(info)) + info + rows
        (tmp_path / "a.bmp").write_bytes(whole)
        with Image.open(tmp_path / "a.bmp") as image:
            assert image.mode == "RGBA"
        assert (np.asarray(read_image(tmp_path / "a.bmp", "L")) == np.asarray(WIDE.convert("L"))).all()
        assert read_drawing(tmp_path / "a.bmp").image.getextrema()[0] == dark


def test_lab_is_read_as_a_sketch_and_as_a_photo(tmp_path: Path) -> None:
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.applyTransform(WIDE, ImageCms.buildTransform(*profiles, "RGB", "LAB"))
    assert lab is not None
    lab.save(tmp_path / "a.tif")
    for mode in ("L", "RGB"):
        found = np.asarray(read_image(tmp_path / "a.tif", mode).convert("L")).astype(int)
        assert np.abs(found - np.asarray(WIDE.convert("L"))).max() <= 2
    assert read_drawing(tmp_path / "a.tif").image.getextrema()[0] < 50


@pytest.mark.parametrize("values", ["int32", "float32", "int32 of 16 bits"])
def test_numbers_without_a_known_range_are_refused_by_every_reader(tmp_path: Path, values: str) -> None:
    path, grey = tmp_path / "a.tif", np.asarray(WIDE.convert("L"))
    scale = 257 if "16" in values else 1
    numbers = grey.astype(np.int32) * scale if "int" in values else (grey / 255).astype(np.float32)
    Image.fromarray(numbers).save(path)
    readers = (read_drawing, partial(read_drawing, clean=False), partial(read_image, mode="L"))
    for read in readers:
        with pytest.raises(UnreadableImage, match=r"a\.tif: its .* have no known range"):
            read(path)
    assert find_unreadable(tmp_path, ["a.tif"], workers=1) == ["a.tif"]


def test_a_palette_image_without_palette_is_refused(tmp_path: Path) -> None:
    file = BytesIO()
    WIDE.convert("P").save(file, "PNG")
    start = file.getvalue().index(b"PLTE") - 4
    (length,) = struct.unpack(">I", file.getvalue()[start : start + 4])
    (tmp_path / "a.png").write_bytes(file.getvalue()[:start] + file.getvalue()[start + 12 + length :])
    for read in (lambda: read_image(tmp_path / "a.png", "L"), lambda: read_drawing(tmp_path / "a.png")):
        with pytest.raises(UnreadableImage, match=r"a\.png: .*its palette is missing"):
            read()


@pytest.mark.parametrize("size", [2**20 + 1, 2**22])
def test_large_texts_and_profiles_in_a_png_are_no_matter(tmp_path: Path, size: int) -> None:
    packed = zlib.compress(bytes(size))
    chunks = {b"iCCP": b"icc\0\0" + packed, b"zTXt": b"Comment\0\0" + packed}
    chunks[b"iTXt"] = b"Comment\0\1\0\0\0" + packed
    for kind, content in chunks.items():
        (tmp_path / "a.png").write_bytes(png_text(kind, content, WIDE))
        assert read_image(tmp_path / "a.png", "L").size == WIDE.size
    too_large = b"Comment\0\0" + zlib.compress(bytes(2**26 + 9))
    (tmp_path / "a.png").write_bytes(png_text(b"zTXt", too_large, WIDE))
    with pytest.raises(UnreadableImage, match="take more than 64 MiB"):
        read_image(tmp_path / "a.png", "L")


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"\0\0\0\x20ftypavif\0\0\0\0", "AVIF"),
        (b"%PDF-1.7", "PDF"),
        (b"<!DOCTYPE html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS"),
        (b"", "the file is empty"),
        (b"\x89PNG\r\n\x1a\n", "damaged"),
    ],
)
def test_what_a_file_is_instead_is_said(tmp_path: Path, start: bytes, kind: str) -> None:
    (tmp_path / "a.jpg").write_bytes(start)
    with pytest.raises(UnreadableImage, match=rf"a\.jpg: .*{kind}.*PNG, JPEG, WEBP, GIF, BMP or TIFF"):
        read_image(tmp_path / "a.jpg", "RGB")
