"""Files of tensors as `torch.save` writes them, read so that their bytes can do no harm.

PyTorch's reader (`weights_only=True`) runs no code of a pickle. It compares no checksums, though, unpacks
parts that are packed, and calls what takes memory by a number alone, `bytearray(10**10)` say. So here, before
it reads: parts lie unpacked in the file, as `torch.save` leaves them, their CRC-32 is that of the file's
directory, and the pickle asks for nothing but tensors. Files from before PyTorch 1.6 are no archives and have
no checksums.
"""

import json
import math
import pickletools
import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from utils.errors import UserError, is_transient

ARCHIVE = b"PK\x03\x04"  # by this, PyTorch's reader tells an archive
LEGACY_PICKLES = 5  # what a file without an archive begins with
PLAIN = re.compile(
    r"collections OrderedDict|torch Size|torch(\.cuda)? [A-Za-z0-9]+Storage|"
    r"torch\._utils _rebuild_(tensor|tensor_v2|parameter)"
)
PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.")  # that wrappers put before names
START = 4096  # bytes that tell a format
MAGIC = {
    b"\x93NUMPY": "a NumPy array (npy)",
    b"\x1f\x8b": "packed by gzip: unpack it first",
    b"\x89HDF": "an HDF5 file, of Keras say",
    b"Rar!": "a RAR archive: unpack it first",
    b"7z\xbc\xaf": "a 7z archive: unpack it first",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"%PDF": "a PDF",
}
ONNX = re.compile(rb"\x08[\x01-\x20][\x12\x1a\x22\x2a\x32\x3a]")  # its version, then the next field
SAFETENSORS_TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
EMPTY = 2**20  # bytes: what the other sides of a tensor without elements may amount to


def read(path: Path) -> Any:
    """What `torch.save` put into the file at `path`, on the CPU.

    Raises UserError with the file's name if it is not there, not whole, or more than tensors and plain
    values.
    """
    if not path.exists():
        raise UserError(f"no such file: {path}")
    if not path.is_file():
        raise UserError(f"{path} is no regular file; a file of tensors is expected")
    try:
        if not path.stat().st_size:
            raise ValueError("it is empty: the download or the copy failed")
        with path.open("rb") as file:
            start = file.read(START)
        if is_safetensors(start, path.stat().st_size):
            return read_safetensors(path)
        reject_other_formats(start, path)
        check_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of unusual pickles: they are read or refused
            content = torch.load(path, map_location="cpu", weights_only=True)
        for tensor in tensors_in(content):
            check_size(tensor)
    except MemoryError:
        raise UserError(f"there is no memory for {path}, of {path.stat().st_size / 2**20:,.0f} MiB") from None
    except Exception as error:  # there is no end to what bytes of any making raise on their way
        if is_transient(error):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        remedy = "" if isinstance(error, OtherFormat) else "; the file is damaged or no plain file of tensors"
        raise UserError(f"cannot read {path}: {reason[:300]}{remedy}") from error
    return content


class OtherFormat(ValueError):
    """A file that is whole, but of another format; the message says what to do."""


def is_safetensors(start: bytes, size: int) -> bool:
    """Whether a file of `size` bytes with this `start` is one: the length of a JSON object, and that."""
    return start[8:9] == b"{" and 8 + int.from_bytes(start[:8], "little") <= size


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors by name. Raises ValueError or what else comes up if the file is not whole."""
    content = bytearray(path.read_bytes())
    begin = 8 + int.from_bytes(content[:8], "little")
    tensors = {}
    for name, entry in json.loads(content[8:begin]).items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in SAFETENSORS_TYPES:
            raise OtherFormat(f"its entry {name} is of type {entry['dtype']}, which is not read here")
        first, last = entry["data_offsets"]
        dtype, shape = SAFETENSORS_TYPES[entry["dtype"]], entry["shape"]
        if (
            not 0 <= first <= last <= len(content) - begin
            or last - first != math.prod(shape) * dtype.itemsize
        ):
            raise ValueError(f"it is cut off, or its entry {name} is not of the size that it says")
        data = content[begin + first : begin + last]
        tensors[name] = (
            torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
        ).reshape(shape)
    return tensors


def safetensors_metadata(path: Path) -> dict[str, str]:
    """What a file of safetensors says of itself. Raises ValueError if that is not names and strings."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        found = json.loads(file.read(length)).get("__metadata__", {})
    if not all(isinstance(text, str) for text in found.values()):
        raise ValueError("its metadata are not names and strings")
    return found


def reject_other_formats(start: bytes, path: Path) -> None:
    """Raise OtherFormat, with what to do, for what people pass in place of a file of tensors."""
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<body", b"<?xml", b"<!--")):
        raise OtherFormat("it is a web page: the download failed; download the file itself")
    if start.startswith(b"version https://git-lfs"):
        raise OtherFormat("it is a Git LFS pointer, not the file itself: fetch that with git lfs pull")
    if text.startswith((b"{", b"[")):
        raise OtherFormat("it is JSON, not tensors: the download may have failed")
    for magic, name in MAGIC.items():
        if start.startswith(magic):
            raise OtherFormat(f"it is {name}; a state dict saved by torch.save, or safetensors, is read")
    if ONNX.match(start):
        raise OtherFormat("it is an ONNX model; pass the state dict that it was exported from")
    if not start.startswith(b"PK"):
        return
    if not zipfile.is_zipfile(path):
        raise OtherFormat("it is cut off: the download or the copy is not complete; fetch it again")
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if not names:
        raise OtherFormat("it holds nothing: an empty archive; fetch it again")
    if all(name.endswith(".npy") for name in names):
        raise OtherFormat("it is a NumPy archive (npz); save a state dict with torch.save")
    if any(name.split("/")[1:2] == ["code"] for name in names):
        raise OtherFormat(
            "it is TorchScript; pass its state dict: torch.save(torch.jit.load(FILE).state_dict(), NEW)"
        )


def is_state_dict(content: Any) -> bool:
    """Whether it is names and tensors."""
    return isinstance(content, dict) and all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    )


def check_file(path: Path) -> None:
    """Raise ValueError or what its parts raise unless the file is whole and asks for nothing but tensors."""
    with path.open("rb") as file:
        if file.read(len(ARCHIVE)) == ARCHIVE:
            with zipfile.ZipFile(path) as archive:
                check_archive(archive, path.stat().st_size)
            return
        file.seek(0)
        for _ in range(LEGACY_PICKLES):
            check_pickle(file)


def check_archive(archive: zipfile.ZipFile, size: int) -> None:
    parts = archive.infolist()
    if any((p.compress_type, p.compress_size) != (zipfile.ZIP_STORED, p.file_size) for p in parts):
        raise OtherFormat(
            "its parts are packed, which torch.save does not do; unzip it and zip it with no compression "
            "(zip -0), or save it again with torch.save"
        )
    if sum(part.file_size for part in parts) > size:
        raise ValueError("its parts are said to be larger than the file")
    if len({part.filename.lower() for part in parts}) < len(parts):  # which of them is read?
        raise ValueError("two of its parts have one name")
    broken = archive.testzip()
    if broken:
        raise ValueError(f"its part {broken} is not what was written, by its checksum")
    for part in parts:
        if part.filename.lower().endswith(".pkl"):
            with archive.open(part) as file:
                check_pickle(file)


def check_pickle(file: IO[bytes]) -> None:
    """Go through one pickle without making anything of it; ValueError if it asks for more than tensors.

    What goes round other ways than by name (INST, STACK_GLOBAL), PyTorch's reader does not know.
    """
    for code, asked, _ in pickletools.genops(file):
        if code.name == "GLOBAL" and not PLAIN.fullmatch(str(asked)):
            raise OtherFormat(
                f"it asks for {str(asked).replace(' ', '.')}, which no tensor needs; "
                "save its state dict alone"
            )


def tensors_in(content: Any) -> Iterator[Tensor]:
    """All tensors in dicts, lists and tuples, however deep; those may go round in a circle."""
    waiting, seen = [content], set()
    while waiting:
        each = waiting.pop()
        if isinstance(each, Tensor):
            yield each
        elif isinstance(each, dict | list | tuple) and id(each) not in seen:
            seen.add(id(each))
            waiting.extend(each.values() if isinstance(each, dict) else each)


def check_size(tensor: Tensor) -> None:
    """Raise ValueError if a tensor is said to be larger than what the file has of it."""
    said = math.prod(side or 1 for side in tensor.shape) * tensor.element_size()
    if said > max(tensor.untyped_storage().nbytes(), EMPTY * (not tensor.numel())):
        raise ValueError(f"a tensor of shape {tuple(tensor.shape)} is said to be larger than its numbers")
