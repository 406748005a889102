"""One image file -> one picture in grey or RGB, whatever the file holds."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from utils.errors import REMEDIES, UserError, is_shortage

# by content, whatever a file's name ends with; of what else Pillow knows, EPS would start another program
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
# what Pillow's decoders raise on broken files, by experience
DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    EOFError,
    IndexError,
    KeyError,
    ZeroDivisionError,
    OverflowError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
IN_A_DATA_SET = (
    "repair it, go on without it by --skip_unreadable, or remove it and make the lists anew with "
    "--phase=prepare --force"
)


def read_image(path: Path, mode: str, *, remedy: str = IN_A_DATA_SET) -> Image.Image:
    """Decode `path` as `mode`, "L" (grey) or "RGB", 8 bits a channel.

    Turned upright by its EXIF tag; transparency is laid on white paper; 16-bit grey is scaled down; of an
    animation the first frame is taken. Raises UserError with the file's name and the `remedy` if it does not
    decode, has more pixels than `Image.MAX_IMAGE_PIXELS` (89 million), or numbers of no known range.
    """
    with opened(path, remedy) as image:
        check_numbers(image)
        image.load()
        ImageOps.exif_transpose(image, in_place=True)  # in place and only if needed: copies take time
        flat = flatten(image)
        return flat if flat.mode == mode else flat.convert(mode)


def pixel_count(path: Path, *, remedy: str = IN_A_DATA_SET) -> int:
    """How many pixels `path` has, by its header alone. Raises UserError as `read_image` does."""
    with opened(path, remedy) as image:
        return image.width * image.height


@contextmanager
def opened(path: Path, remedy: str = IN_A_DATA_SET) -> Iterator[Image.Image]:
    """The image at `path`, its header alone read. Raises UserError as `named`, and for what is no file."""
    with named(path, remedy):
        if path.exists() and not path.is_file():
            raise ValueError("it is no regular file")  # a pipe would be waited for
        with Image.open(path, formats=FORMATS) as image:
            yield image


@contextmanager
def named(path: Path, remedy: str = IN_A_DATA_SET) -> Iterator[None]:
    """Raise UserError with the name of the file and the remedy for what its decoder raises inside."""
    try:
        yield
    except DECODE_ERRORS as error:
        if isinstance(error, OSError) and is_shortage(error):
            raise UserError(f"cannot read image {path}: {error}; {REMEDIES[error.errno or 0]}") from error
        reason = str(error) or type(error).__name__
        raise UserError(f"cannot read image {path}: {reason}; {remedy}") from error


def check_numbers(image: Image.Image) -> None:
    """Raise ValueError if `image` is too large, or of numbers that say nothing of black and white."""
    found, limit = image.width * image.height, Image.MAX_IMAGE_PIXELS
    if limit is not None and found > limit:
        raise ValueError(f"it has {found / 1e6:.1f} megapixels, more than {limit / 1e6:.1f}: make it smaller")
    if image.mode == "F":
        raise ValueError("its floating point numbers have no known range: save it with 8 or 16 bits")


def flatten(image: Image.Image) -> Image.Image:
    """Without transparency, and with at most 8 bits a channel. Raises ValueError for grey of over 16 bits."""
    if image.mode.startswith("I"):  # 16-bit grey: Pillow would clip at 255, not scale
        grey = np.asarray(image.convert("I"))
        if grey.min() < 0 or grey.max() > 2**16 - 1:
            raise ValueError("its 32-bit numbers have no known range: save it with 8 or 16 bits")
        return Image.fromarray((grey // 257).astype(np.uint8))
    if not image.has_transparency_data:
        return image
    rgba = image.convert("RGBA")
    paper = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(paper, rgba).convert("RGB")
