"""A million damaged lists and headers: each is read, or refused by the one error that its reader documents.

Every input is a good one with a few changes, drawn by a seed: bits and numbers replaced, pieces cut out, put
in twice or taken from another file. They lie in memory where the system has a folder for that.
"""

import io
import json
import logging
import random
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from datasets.annotations import read_list
from datasets.images import UnreadableImage, count_pixels
from phases.serve.answers import check_size
from run import results
from utils import checkpoints, published
from utils.arrays import read_array, write_array
from utils.errors import UserError

IN_MEMORY = Path("/dev/shm")
SLOWEST = 5.0  # seconds of this process for one input
LEAST = 0.02  # share of the inputs that must be refused: else the changes are too few
WORDS = [
    b"[",
    b"]",
    b"{",
    b"}",
    b'"',
    b",",
    b":",
    b"-1",
    b"1e999",
    b"NaN",
    b"null",
    b"true",
    b"\\u0000",
    b"\\",
]
WORDS += [b"..", b"/", b"\xff", b"\xed\xa0\x80", b"9" * 30, b"9" * 5000, b'"test"', b"[" * 2000, b"\\ud800"]
NUMBERS = [0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
FORMATS = {"PNG": ["L", "RGB", "P", "I;16", "RGBA"], "JPEG": ["L", "RGB", "CMYK"], "GIF": ["P"]}
FORMATS |= {"BMP": ["1", "P", "RGB"], "WEBP": ["RGB", "RGBA"], "TIFF": ["1", "L", "RGB", "I;16"]}


@dataclass(frozen=True)
class Target:
    """A reader of files, the errors that it documents, and good files of its kind.

    per_thousand: how many of a thousand inputs are for it. words: what stands in text of its kind.
    """

    read: Callable[[Path], Any]
    refusals: tuple[type[Exception], ...]
    good: list[bytes]
    per_thousand: int
    words: tuple[bytes, ...] = ()


def image_files() -> list[bytes]:
    """Small ones of every format and mode, with metadata and in several compressions."""
    found = []
    for form, modes in FORMATS.items():
        for mode in modes:
            image = Image.new("RGB", (23, 17), "white")
            ImageDraw.Draw(image).line((2, 2, 20, 15), fill="blue", width=3)
            image = image.convert("I").convert(mode) if mode == "I;16" else image.convert(mode)
            exif = Image.Exif()
            exif[0x0112] = 6
            more: list[dict[str, Any]] = [{}]
            if form in ("JPEG", "PNG", "WEBP", "TIFF") and mode != "CMYK":
                more.append({"exif": exif, "icc_profile": b"profile" * 9})
            if form == "TIFF" and mode != "I;16":
                more.append({"compression": "tiff_lzw"})
            if form == "GIF":
                more.append({"save_all": True, "append_images": [image] * 2})
            for options in more:
                file = io.BytesIO()
                image.save(file, form, **options)
                found.append(file.getvalue())
    return found


def lists() -> list[bytes]:
    entry = [["sketches/bear (animal)/1.png", 0], ["sketches/hot-dog/é.png", 12]]
    values: list[Any] = [{"train": entry, "test": entry[:1]}, {"test": [], "train": entry * 3, "more": None}]
    texts = [json.dumps(value, ensure_ascii=ascii) for value in values for ascii in (True, False)]
    return [text.encode() for text in texts]


def records() -> list[bytes]:
    record = {"step": 4, "distance": "euclidean", "mirror": "on", "metrics": {"MAP": 50.0}, "hash": {}}
    record |= {"lists": "abc", "options": {"seed": 0}, "definitions": {}, "per_category_MAP": {"cat": 50.0}}
    record |= {"seed": 0, "chance": {"MAP": 50.0}, "hash_gradient": "published"}
    record |= {"training_options": {}, "training_machine": {}}
    record["counts"] = dict.fromkeys(results.REQUIRED_COUNTS, 6)
    return [json.dumps(value, indent=2).encode() for value in ([record], [record, {**record, "step": 8}])]


def checkpoint_files(folder: Path) -> list[bytes]:
    state = {
        "step": 4,
        "network": {"a.weight": torch.randn(3, 2), "b": torch.arange(3)},
        "options": {"a": "b"},
    }
    checkpoints.save(folder / "whole.pt", state)
    old = io.BytesIO()
    torch.save(state["network"], old, _use_new_zipfile_serialization=False)
    return [(folder / "whole.pt").read_bytes(), old.getvalue()]


def array_file(folder: Path) -> bytes:
    write_array(folder / "whole.npy", np.arange(12, dtype=np.float32).reshape(2, 3, 2))
    return (folder / "whole.npy").read_bytes()


def targets(folder: Path) -> dict[str, Target]:
    user, images = (UserError,), image_files()
    whole = checkpoint_files(folder)
    load_cached_features = partial(read_array, shape=(2, 3, 2), dtype=np.float32)
    return {
        "annotation lists": Target(read_list, user, lists(), 500, tuple(WORDS)),
        "records of results": Target(results.read_records, user, records(), 80, tuple(WORDS)),
        "image headers, of a data set": Target(count_pixels, user, images, 120),
        "image headers, of uploads": Target(partial(check_size, megapixels=1), user, images, 120),
        ".npy headers": Target(load_cached_features, (ValueError,), [array_file(folder)], 60),
        "checkpoints": Target(checkpoints.load, user, whole, 60),
        "checkpoints, damaged inside": Target(checkpoints.load, user, whole[:1], 40),
        "published checkpoints": Target(published.read_state, user, whole[1:], 20),
    }


def changed(draw: random.Random, target: Target) -> bytes:
    """A good file with a few changes, most of them near its start, where headers are."""
    data = bytearray(draw.choice(target.good))
    for _ in range(draw.choice((1, 1, 2, 3, 6))):
        start = min(draw.randrange(len(data) + 1) for _ in range(draw.choice((1, 3))))
        end = min(start + draw.choice((1, 2, 4, 16)), len(data))
        other = draw.choice(target.good)
        place = draw.randrange(len(other))
        ways: list[bytes] = [
            bytes([draw.randrange(256)]),
            draw.choice(NUMBERS).to_bytes(4, draw.choice(("little", "big")))[: draw.choice((2, 4))],
            b"",
            bytes(data[start:end]) * 2,
            other[place : place + draw.choice((4, 32, 256))],
        ]
        if target.words:
            ways += [draw.choice(target.words)] * len(ways)
        data[start:end] = draw.choice(ways)
    return bytes(data[: draw.randrange(len(data) + 1)] if draw.random() < 0.05 else data)


def packed_anew(draw: random.Random, target: Target) -> bytes:
    """A checkpoint with its pickle changed, and checksums that are right: what is made on purpose."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(target.good[0])) as whole, zipfile.ZipFile(file, "w") as other:
        for part in whole.infolist():
            content = whole.read(part)
            if part.filename.endswith(".pkl"):
                content = changed(draw, Target(target.read, target.refusals, [content], 0))
            other.writestr(part.filename, content)
    return file.getvalue()


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder for many short-lived files."""
    if not IN_MEMORY.is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        yield Path(folder)


@pytest.mark.parametrize("times", [2_000, pytest.param(1_000_000, marks=pytest.mark.long)])
def test_what_is_damaged_is_read_or_refused(
    memory: Path, times: int, ledger: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)
    warnings.simplefilter("ignore")  # Pillow's, of large and unusual pictures
    path, counts = memory / "input", []
    for number, (kind, target) in enumerate(targets(memory).items()):
        for content in target.good:
            path.write_bytes(content)
            target.read(path)
        make = packed_anew if "inside" in kind else changed
        draw, refused, count = random.Random(number), 0, times * target.per_thousand // 1000
        for _ in range(count):
            content = make(draw, target)
            path.write_bytes(content)
            start = time.process_time()
            try:
                target.read(path)
            except target.refusals as error:
                refused += 1
                assert type(error) in (UserError, UnreadableImage) or ValueError in target.refusals
                assert "\n" not in str(error), f"{kind}: {content!r}"
            except BaseException as error:
                raise AssertionError(f"{kind}: {type(error).__name__} for {content!r}") from error
            assert time.process_time() - start < SLOWEST, f"{kind}: {content!r}"
        assert LEAST * count < refused, f"{kind}: {refused} of {count} refused"
        counts.append(f"{kind} {count:,} ({refused:,} refused)")
    outcome = f"no error but the documented one, none slower than {SLOWEST:.0f} s: {'; '.join(counts)}"
    ledger(8, "damaged lists and headers", times=times, outcome=outcome)
