"""One image file -> one picture in grey or RGB, whatever the file holds."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from utils.errors import UserError

# what Pillow's decoders raise on broken files, by experience
DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    struct.error,
    Image.DecompressionBombError,
)
IN_A_DATA_SET = "repair or remove it, then make the lists anew with --phase=prepare --force"


def read_image(path: Path, mode: str, *, remedy: str = IN_A_DATA_SET) -> Image.Image:
    """Decode `path` as `mode`, "L" (grey) or "RGB", 8 bits a channel.

    Turned upright by its EXIF tag; transparency is laid on white paper; 16-bit grey is scaled down; of an
    animation the first frame is taken. Raises UserError with the file's name and the `remedy` if it does not
    decode.
    """
    with named(path, remedy), Image.open(path) as image:
        image.load()
        ImageOps.exif_transpose(image, in_place=True)  # in place and only if needed: copies take time
        flat = flatten(image)
        return flat if flat.mode == mode else flat.convert(mode)


def pixel_count(path: Path, *, remedy: str = IN_A_DATA_SET) -> int:
    """How many pixels `path` has, by its header alone. Raises UserError as `read_image` does."""
    with named(path, remedy), Image.open(path) as image:
        return image.width * image.height


@contextmanager
def named(path: Path, remedy: str = IN_A_DATA_SET) -> Iterator[None]:
    """Raise UserError with the name of the file and the remedy for what its decoder raises inside."""
    try:
        yield
    except DECODE_ERRORS as error:
        raise UserError(f"cannot read image {path}: {error}; {remedy}") from error


def flatten(image: Image.Image) -> Image.Image:
    """Without transparency, and with at most 8 bits a channel."""
    if image.mode.startswith("I"):  # 16-bit grey: Pillow would clip at 255, not scale
        grey = np.asarray(image.convert("I")) // 257
        return Image.fromarray(grey.clip(0, 255).astype(np.uint8))
    if not image.has_transparency_data:
        return image
    rgba = image.convert("RGBA")
    paper = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(paper, rgba).convert("RGB")
