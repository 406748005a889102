"""Every kind of image file is read right or refused by name."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.images import read_image
from utils.errors import UserError

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
