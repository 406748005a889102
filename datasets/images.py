"""Decode image files: upright, in a known mode. All image reading goes through here.

`read_image` returns grey or RGB, for networks and contact sheets; `read_upright` also leaves colour and
transparency, for callers that inspect them; `turn_upright` does the same for a picture in memory. Any failure
to decode raises UnreadableImage, whatever Pillow raised.

Unlike the published program, which only calls Pillow's `convert`: EXIF orientation is applied, transparency
is composited on white, 16-bit grey is scaled instead of clipped, and pixel types without a known range are
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

from utils.errors import REMEDIES, UserError, is_transient, one_line

# by content, whatever the suffix; of the other formats in Pillow, EPS would start another program
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
FORMATS_IN_WORDS = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
PIXEL_VERSION = 2  # version of decoding and resizing: raise it with any change, so that caches are rebuilt
IN_A_DATA_SET = (
    f"repair it ({FORMATS_IN_WORDS}), skip it with --skip_unreadable, or remove it and rebuild the lists "
    "with --phase=prepare --force"
)

# do not refuse a PNG for a single text or colour profile above 1 MiB; Pillow's limit on their sum is enough
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

# signatures of files that people mistake for one of FORMATS: position, bytes, name
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
# first bytes of FORMATS
IMAGE_STARTS = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


class UnreadableImage(UserError):
    """An image that cannot be read: its `path`, the `reason` for a user, and the `remedy`."""

    def __init__(self, path: Path, reason: str, remedy: str) -> None:
        super().__init__(path, reason, remedy)  # all three: exceptions are pickled by their args
        self.path, self.reason, self.remedy = path, reason, remedy

    def __str__(self) -> str:
        return f"cannot read image {self.path}: {self.reason}; {self.remedy}"


class _Refused(ValueError):
    """A picture that Pillow can read and this program does not accept; the text is the reason."""


def read_image(path: Path, mode: str, *, near: int | None = None, remedy: str = IN_A_DATA_SET) -> Image.Image:
    """Read `path` as `mode`, "L" (grey) or "RGB", 8 bits per channel, transparency on white.

    `near`, `remedy` and errors: see `read_upright`.
    """
    return flatten(read_upright(path, near=near, remedy=remedy), mode)


def read_upright(
    path: Path, *, near: int | None = None, pixels: int | None = None, remedy: str = IN_A_DATA_SET
) -> Image.Image:
    """Read `path`, turned upright, as mode L, RGB or RGBA; of an animation, the first frame.

    With `near`, a large JPEG may be decoded at 1/2, 1/4 or 1/8 of its size, no side below `near` pixels.
    Raises UnreadableImage, with the `remedy` in its message, if the file does not decode, has more than
    `pixels` pixels (default: `Image.MAX_IMAGE_PIXELS`, 89 million) or a pixel type without a known range;
    UserError if the machine is short of memory or open files: the image itself may be fine.
    """
    with _open_image(path, remedy) as image:
        _check_size(image, Image.MAX_IMAGE_PIXELS if pixels is None else pixels)
        xmp = image.info.pop("xmp", None)  # Pillow parses it, and fails on some
        if isinstance(image, TiffImageFile):
            _drop_other_metadata(image)
        elif near is not None:
            image.draft(None, (near, near))
        image.load()
        return _turn_and_convert(image, xmp)


def turn_upright(image: Image.Image) -> Image.Image:
    """`read_upright` for a picture in memory, of any mode. Raises UserError if it cannot be read."""
    try:
        image.load()
        return _turn_and_convert(image, image.info.get("xmp"))
    except Exception as error:
        raise UserError(f"a picture of mode {image.mode} cannot be read: {_explain_error(error)}") from error


def flatten(image: Image.Image, mode: str) -> Image.Image:
    """Convert a picture of `read_upright` to `mode`, "L" or "RGB", with transparency on white."""
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def count_pixels(path: Path, *, remedy: str = IN_A_DATA_SET) -> int:
    """Number of pixels of `path`, from its header. Raises UnreadableImage or UserError."""
    with _open_image(path, remedy) as image:
        return image.width * image.height


def has_image_signature(path: Path) -> bool:
    """Whether a file starts like one of FORMATS; False if it cannot be opened."""
    return path.is_file() and _read_start(path).startswith(IMAGE_STARTS)


@contextmanager
def _open_image(path: Path, remedy: str) -> Iterator[Image.Image]:
    """Open `path` and read its header. Errors raised in the block become UnreadableImage."""
    try:
        if path.exists() and not path.is_file():
            raise _Refused("it is not a regular file")  # opening a pipe would block
        with Image.open(path, formats=FORMATS) as image:
            yield image
    except Exception as error:  # on damaged files, Pillow's decoders raise exceptions of any type
        if isinstance(error, OSError) and is_transient(error):
            raise UserError(f"cannot read image {path}: {error}; {REMEDIES[error.errno or 0]}") from error
        raise UnreadableImage(path, _explain_error(error, path), remedy) from error


def _explain_error(error: Exception, path: Path | None = None) -> str:
    """Explain Pillow's exception to the owner of the file."""
    text = one_line(str(error))
    if isinstance(error, _Refused):
        return text
    if isinstance(error, UnidentifiedImageError) and path is not None:
        return _describe_file(path)
    if isinstance(error, Image.DecompressionBombError):
        return "it has far too many pixels, like a decompression bomb"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, MemoryError):
        return "it needs more memory than is available"
    if "MAX_TEXT_" in text:
        return "its texts or colour profile take more than 64 MiB: save it without them"
    return f"it is damaged or incomplete ({text or type(error).__name__})"


def _describe_file(path: Path) -> str:
    """What a file not in FORMATS is, judged by its first bytes."""
    start = _read_start(path)
    if not start:
        return "the file is empty"
    for position, signature, name in SIGNATURES:
        if start[position:].startswith(signature):
            return f"it is {name}, which is not supported"
    if start.startswith(IMAGE_STARTS):
        return "it is damaged or incomplete (its header cannot be read)"
    return "it is not an image in a supported format"


def _read_start(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(32)
    except OSError:
        return b""


def _check_size(image: Image.Image, limit: int | None) -> None:
    count = image.width * image.height
    if limit is not None and count > limit:
        raise _Refused(f"it has {count / 1e6:.1f} megapixels, more than {limit / 1e6:.1f}: make it smaller")


def _drop_other_metadata(image: TiffImageFile) -> None:
    """Drop all EXIF tags but the orientation: Pillow reads them while loading a TIFF, and fails on some."""
    exif = image.getexif()
    for tag in set(exif) - {ORIENTATION}:
        del exif[tag]


def _turn_and_convert(image: Image.Image, xmp: Any) -> Image.Image:
    """Convert a loaded picture to a known mode and apply its orientation; its metadata stay untouched."""
    turn = TURNS.get(_read_orientation(image, xmp))
    plain = _convert_mode(image)
    return plain if turn is None else plain.transpose(turn)


def _read_orientation(image: Image.Image, xmp: Any) -> int:
    """Orientation 1 to 8, from EXIF or else XMP; 1 if neither has a valid one."""
    try:
        value = image.getexif().get(ORIENTATION)
    except Exception:  # an invalid EXIF block counts as none
        value = None
    if value is not None:
        return value if isinstance(value, int) else 1
    match = XMP_ORIENTATION.search(_join_xmp(image.info.get("XML:com.adobe.xmp") or xmp))
    return int(match[1]) if match else 1


def _join_xmp(xmp: Any) -> bytes:
    """An XMP block as bytes; in a TIFF it may be bytes, text, or a tuple of either."""
    if isinstance(xmp, str):
        return xmp.encode(errors="replace")
    if isinstance(xmp, tuple):
        return b"".join(map(_join_xmp, xmp))
    return xmp if isinstance(xmp, bytes) else b""


def _convert_mode(image: Image.Image) -> Image.Image:
    """Convert to L, RGB or RGBA, 8 bits per channel."""
    if image.mode == "F":
        raise _Refused("its floating point numbers have no known range: save it with 8 or 16 bits")
    if image.mode == "I":
        raise _Refused("its signed or 32-bit numbers have no known range: save it with 8 or 16 bits")
    if image.mode in ("P", "PA") and image.palette is None:
        raise _Refused("it is damaged: its palette is missing")
    if image.mode.startswith("I;16"):
        return _scale_to_8_bits(image)
    if image.has_transparency_data:
        plain = image.convert("RGBA")
        # many programs write opaque 32-bit BMP files with alpha 0
        if image.format == "BMP" and plain.getchannel("A").getextrema() == (0, 0):
            return plain.convert("RGB")
        return plain
    if image.mode in ("L", "RGB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _scale_to_8_bits(image: Image.Image) -> Image.Image:
    """Scale 12- or 16-bit grey to 8 bits; Pillow would clip at 255."""
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
