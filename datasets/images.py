"""One image file -> one picture, upright and in a known mode. Every reader of images goes through here.

`read_image` gives grey or RGB, for networks and contact sheets; `read_upright` leaves colour and transparency
in, for what still has to judge them; `upright` does the same to a picture that is in memory already. A file
that gives no picture raises UnreadableImage, whatever Pillow raised.

Beyond the published program, which takes Pillow's `convert` and nothing else: EXIF orientation is applied,
transparency is laid on white, 16-bit grey is scaled instead of clipped, and numbers without a known range are
refused.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from utils.errors import REMEDIES, UserError, is_shortage, one_line

# by content, whatever a file's name ends with; of what else Pillow knows, EPS would start another program
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
FORMATS_IN_WORDS = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
PIXEL_VERSION = 2  # of how pixels are read and resized: raise it with any change, so that caches are rebuilt
IN_A_DATA_SET = (
    f"repair it ({FORMATS_IN_WORDS}), go on without it by --skip_unreadable, or remove it and make the lists "
    "anew with --phase=prepare --force"
)

# a text or colour profile of more than 1 MiB is no reason to refuse a PNG: that of all together is enough
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY

BITS_PER_SAMPLE, PHOTOMETRIC, ORIENTATION = 0x0102, 0x0106, 0x0112  # tags of EXIF and TIFF
WHITE_IS_ZERO = 0  # a value of PHOTOMETRIC
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
XMP_ORIENTATION = re.compile(rb"""tiff:Orientation\s*(?:=\s*["']|>)\s*([1-8])\b""")

# how files start that people take for one of FORMATS: position, bytes, name
SIGNATURES = (
    (4, b"ftypavif", "AVIF"),
    (4, b"ftypavis", "AVIF"),
    (4, b"ftyphe", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    (4, b"ftypmsf1", "HEIC"),
    (0, b"\xff\x0a", "JPEG XL"),
    (4, b"JXL ", "JPEG XL"),
    (4, b"jP  ", "JPEG 2000"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"%PDF", "PDF"),
    (0, b"%!PS", "PostScript"),
    (0, b"<svg", "SVG"),
    (0, b"<?xml", "XML or SVG"),
    (0, b"<!DOCTYPE", "a web page"),
    (0, b"<!doctype", "a web page"),
    (0, b"<html", "a web page"),
    (0, b"version https://git-lfs", "a Git LFS pointer (git lfs pull fetches the file)"),
)
# how files of FORMATS start
TAKEN = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


class UnreadableImage(UserError):
    """An image that cannot be read: its `path`, the `reason` in plain words, and the `remedy`."""

    def __init__(self, path: Path, reason: str, remedy: str) -> None:
        super().__init__(path, reason, remedy)  # all of them: errors are sent between processes by their args
        self.path, self.reason, self.remedy = path, reason, remedy

    def __str__(self) -> str:
        return f"cannot read image {self.path}: {self.reason}; {self.remedy}"


class _Refused(ValueError):
    """A picture that Pillow can read and this program does not take; the text is the reason."""


def read_image(path: Path, mode: str, *, near: int | None = None, remedy: str = IN_A_DATA_SET) -> Image.Image:
    """The picture at `path` as `mode`, "L" (grey) or "RGB", 8 bits a channel, on white paper.

    `near`, `remedy` and the errors are those of `read_upright`.
    """
    return flatten(read_upright(path, near=near, remedy=remedy), mode)


def read_upright(
    path: Path, *, near: int | None = None, pixels: int | None = None, remedy: str = IN_A_DATA_SET
) -> Image.Image:
    """The picture at `path`, turned upright, of mode L, RGB or RGBA; of an animation the first frame.

    With `near`, a large JPEG may come at a half, a quarter or an eighth, with no side below so many pixels.
    Raises UnreadableImage, with the `remedy` in its message, if the file does not decode, has more than
    `pixels` pixels (default: `Image.MAX_IMAGE_PIXELS`, 89 million) or numbers of no known range; UserError
    if the machine is short of memory or open files, which says nothing of the image.
    """
    with _opened(path, remedy) as image:
        _check_size(image, Image.MAX_IMAGE_PIXELS if pixels is None else pixels)
        xmp = image.info.pop("xmp", None)  # Pillow would look into it, and fail on some
        if isinstance(image, TiffImageFile):
            _keep_orientation_alone(image)
        elif near is not None:
            image.draft(None, (near, near))
        image.load()
        return _upright(image, xmp)


def upright(image: Image.Image) -> Image.Image:
    """A picture in memory, of any mode, as `read_upright` has it. Raises UserError if it cannot be read."""
    try:
        image.load()
        return _upright(image, image.info.get("xmp"))
    except Exception as error:
        raise UserError(f"a picture of mode {image.mode} cannot be read: {_reason(error)}") from error


def flatten(image: Image.Image, mode: str) -> Image.Image:
    """A picture of `read_upright` as `mode`, "L" or "RGB", its transparency laid on white."""
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def pixel_count(path: Path, *, remedy: str = IN_A_DATA_SET) -> int:
    """How many pixels `path` has, by its header alone. Raises UnreadableImage or UserError."""
    with _opened(path, remedy) as image:
        return image.width * image.height


def starts_as_image(path: Path) -> bool:
    """Whether a file starts as those of FORMATS do; False if it cannot be opened."""
    return path.is_file() and _start_of(path).startswith(TAKEN)


@contextmanager
def _opened(path: Path, remedy: str) -> Iterator[Image.Image]:
    """The image at `path`, its header alone read. What is raised inside is that image unreadable."""
    try:
        if path.exists() and not path.is_file():
            raise _Refused("it is no regular file")  # a pipe would be waited for
        with Image.open(path, formats=FORMATS) as image:
            yield image
    except Exception as error:  # Pillow's decoders raise whatever a damaged file leads them to
        if isinstance(error, OSError) and is_shortage(error):
            raise UserError(f"cannot read image {path}: {error}; {REMEDIES[error.errno or 0]}") from error
        raise UnreadableImage(path, _reason(error, path), remedy) from error


def _reason(error: Exception, path: Path | None = None) -> str:
    """What Pillow raised, in words for who has the file."""
    text = one_line(str(error))
    if isinstance(error, _Refused):
        return text
    if isinstance(error, UnidentifiedImageError) and path is not None:
        return _kind_of(path)
    if isinstance(error, Image.DecompressionBombError):
        return "it has far too many pixels, as a decompression bomb has"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, MemoryError):
        return "it needs more memory than there is"
    if "MAX_TEXT_" in text:
        return "the texts or the colour profile in it take more than 64 MiB: save it without them"
    return f"it is damaged or incomplete ({text or type(error).__name__})"


def _kind_of(path: Path) -> str:
    """What a file is that is of none of FORMATS, by its first bytes."""
    start = _start_of(path)
    if not start:
        return "the file is empty"
    for position, signature, name in SIGNATURES:
        if start[position:].startswith(signature):
            return f"it is {name}, which is not read"
    if start.startswith(TAKEN):
        return "it is damaged or incomplete (its header cannot be read)"
    return "it is no image of a format that is read"


def _start_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(32)
    except OSError:
        return b""


def _check_size(image: Image.Image, limit: int | None) -> None:
    count = image.width * image.height
    if limit is not None and count > limit:
        raise _Refused(f"it has {count / 1e6:.1f} megapixels, more than {limit / 1e6:.1f}: make it smaller")


def _keep_orientation_alone(image: TiffImageFile) -> None:
    """Let Pillow, which turns a TIFF while it loads it, meet no other metadata: it fails on some."""
    exif = image.getexif()
    for tag in set(exif) - {ORIENTATION}:
        del exif[tag]


def _upright(image: Image.Image, xmp: Any) -> Image.Image:
    """A loaded picture in a known mode, turned by its orientation; nothing is written to its metadata."""
    turn = TURNS.get(_orientation(image, xmp))
    plain = _in_a_known_mode(image)
    return plain if turn is None else plain.transpose(turn)


def _orientation(image: Image.Image, xmp: Any) -> int:
    """1 to 8, by EXIF or else by XMP; 1 if neither says so in a way that can be read."""
    try:
        value = image.getexif().get(ORIENTATION)
    except Exception:  # a block that is none: as if there were none
        value = None
    if value is not None:
        return value if isinstance(value, int) else 1
    match = XMP_ORIENTATION.search(_as_bytes(image.info.get("XML:com.adobe.xmp") or xmp))
    return int(match[1]) if match else 1


def _as_bytes(xmp: Any) -> bytes:
    """An XMP block, which a TIFF may hold as bytes, as text, or as a row of either."""
    if isinstance(xmp, str):
        return xmp.encode(errors="replace")
    if isinstance(xmp, tuple):
        return b"".join(map(_as_bytes, xmp))
    return xmp if isinstance(xmp, bytes) else b""


def _in_a_known_mode(image: Image.Image) -> Image.Image:
    """L, RGB or RGBA, 8 bits a channel."""
    if image.mode == "F":
        raise _Refused("its floating point numbers have no known range: save it with 8 or 16 bits")
    if image.mode == "I":
        raise _Refused("its signed or 32-bit numbers have no known range: save it with 8 or 16 bits")
    if image.mode in ("P", "PA") and image.palette is None:
        raise _Refused("it is damaged: its palette is missing")
    if image.mode.startswith("I;16"):
        return _eight_bits(image)
    if image.has_transparency_data:
        plain = image.convert("RGBA")
        # many a program that writes 32-bit BMP files leaves alpha 0, and means an opaque picture
        if image.format == "BMP" and plain.getchannel("A").getextrema() == (0, 0):
            return plain.convert("RGB")
        return plain
    if image.mode in ("L", "RGB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """12- or 16-bit grey, scaled: Pillow would clip it at 255."""
    tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    (bits,) = tags.get(BITS_PER_SAMPLE, (16,))
    values = np.asarray(image).astype(np.uint32)
    grey = Image.fromarray((values * 255 // (2**bits - 1)).astype(np.uint8))
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        return Image.fromarray(255 - np.asarray(grey))
    if "transparency" not in image.info:
        return grey
    grey.putalpha(Image.fromarray((values != image.info["transparency"]).astype(np.uint8) * 255))
    return grey.convert("RGBA")
