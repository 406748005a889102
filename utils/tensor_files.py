"""Reads files of tensors (torch.save, safetensors) from untrusted sources.

PyTorch's reader (`weights_only=True`) runs no code from a pickle. But it checks no checksums, decompresses
compressed parts, and allows calls that allocate any amount of memory, such as `bytearray(10**10)`. Therefore,
before PyTorch reads a file, this module checks that its parts are not compressed (`torch.save` writes none),
that their CRC-32 is correct, and that its pickle refers only to tensors. Files of PyTorch 1.5 and earlier are
not ZIP archives and have no checksums.
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

ARCHIVE = b"PK\x03\x04"  # PyTorch's reader recognises a ZIP archive by it
LEGACY_PICKLES = 5  # a file of PyTorch 1.5 or earlier begins with so many pickles
ALLOWED_GLOBALS = re.compile(  # what a pickle of tensors refers to
    r"collections OrderedDict|torch Size|torch(\.cuda)? [A-Za-z0-9]+Storage|"
    r"torch\._utils _rebuild_(tensor|tensor_v2|parameter)"
)
PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.")  # that wrappers put before the names of weights
START_SIZE = 4096  # bytes by which a format is recognised
MAGIC = {
    b"\x93NUMPY": "a NumPy array (npy)",
    b"\x1f\x8b": "compressed by gzip: decompress it first",
    b"\x89HDF": "an HDF5 file, for example of Keras",
    b"Rar!": "a RAR archive: unpack it first",
    b"7z\xbc\xaf": "a 7z archive: unpack it first",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"%PDF": "a PDF",
}
ONNX = re.compile(
    rb"\x08[\x01-\x20][\x12\x1a\x22\x2a\x32\x3a]"
)  # the field of its version, then the next field
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
MAX_EMPTY_SIZE = 2**20  # bytes that a tensor without elements would have if its zero dimensions were 1


def read(path: Path) -> Any:
    """Read the file of tensors at `path` onto the CPU.

    Raises UserError, which names the file, if it is missing, damaged, or holds anything other than tensors
    and plain values.
    """
    if not path.exists():
        raise UserError(f"no such file: {path}")
    if not path.is_file():
        raise UserError(f"{path} is not a regular file; a file of tensors is expected")
    try:
        if not path.stat().st_size:
            raise ValueError("it is empty: the download or the copy failed")
        with path.open("rb") as file:
            start = file.read(START_SIZE)
        if is_safetensors(start, path.stat().st_size):
            return read_safetensors(path)
        reject_other_formats(start, path)
        check_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about unusual pickles, which are read or rejected
            content = torch.load(path, map_location="cpu", weights_only=True)
        for tensor in tensors_in(content):
            check_size(tensor)
    except MemoryError:
        raise UserError(
            f"there is not enough memory for {path} of {path.stat().st_size / 2**20:,.0f} MiB"
        ) from None
    except Exception as error:  # arbitrary bytes can raise almost anything
        if is_transient(error):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        remedy = (
            "" if isinstance(error, OtherFormat) else "; the file is damaged or not a plain file of tensors"
        )
        raise UserError(f"cannot read {path}: {reason[:300]}{remedy}") from error
    return content


class OtherFormat(ValueError):
    """An intact file in another format; the message says what to do."""


def is_safetensors(start: bytes, size: int) -> bool:
    """Whether a file of `size` bytes starts like safetensors: with the length of a JSON object, and that."""
    return start[8:9] == b"{" and 8 + int.from_bytes(start[:8], "little") <= size


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors by name. Raises ValueError or other errors of parsing if the file is damaged."""
    content = bytearray(path.read_bytes())
    begin = 8 + int.from_bytes(content[:8], "little")
    tensors = {}
    for name, entry in json.loads(content[8:begin]).items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in SAFETENSORS_TYPES:
            raise OtherFormat(f"its entry {name} is of type {entry['dtype']}, which is not supported")
        first, last = entry["data_offsets"]
        dtype, shape = SAFETENSORS_TYPES[entry["dtype"]], entry["shape"]
        if (
            not 0 <= first <= last <= len(content) - begin
            or last - first != math.prod(shape) * dtype.itemsize
        ):
            raise ValueError(f"it is cut off, or the size of its entry {name} is wrong")
        data = content[begin + first : begin + last]
        tensors[name] = (
            torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
        ).reshape(shape)
    return tensors


def safetensors_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file. Raises ValueError unless they are names and strings."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        metadata = json.loads(file.read(length)).get("__metadata__", {})
    if not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError("its metadata are not names and strings")
    return metadata


def reject_other_formats(start: bytes, path: Path) -> None:
    """Raise OtherFormat for formats that users commonly pass in place of a file of tensors."""
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<body", b"<?xml", b"<!--")):
        raise OtherFormat("it is a web page: the download failed; download the file itself")
    if start.startswith(b"version https://git-lfs"):
        raise OtherFormat("it is a Git LFS pointer, not the file itself: fetch the file with git lfs pull")
    if text.startswith((b"{", b"[")):
        raise OtherFormat("it is JSON, not tensors: the download may have failed")
    for magic, name in MAGIC.items():
        if start.startswith(magic):
            raise OtherFormat(
                f"it is {name}; a state dict saved by torch.save or a safetensors file is needed"
            )
    if ONNX.match(start):
        raise OtherFormat("it is an ONNX model; pass the state dict that it was exported from")
    if not start.startswith(b"PK"):
        return
    if not zipfile.is_zipfile(path):
        raise OtherFormat("it is cut off: the download or copy is incomplete; fetch it again")
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if not names:
        raise OtherFormat("it is an empty archive; fetch it again")
    if all(name.endswith(".npy") for name in names):
        raise OtherFormat("it is a NumPy archive (npz); save a state dict with torch.save")
    if any(name.split("/")[1:2] == ["code"] for name in names):
        raise OtherFormat(
            "it is TorchScript; pass its state dict: torch.save(torch.jit.load(FILE).state_dict(), NEW)"
        )


def is_state_dict(content: Any) -> bool:
    """Whether `content` is a dict of names and tensors."""
    return isinstance(content, dict) and all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    )


def check_file(path: Path) -> None:
    """Raise ValueError or other errors of parsing unless the file is intact and refers only to tensors."""
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
            "its parts are compressed, unlike those of torch.save; unzip it and zip it without compression "
            "(zip -0), or save it again with torch.save"
        )
    if sum(part.file_size for part in parts) > size:
        raise ValueError("its parts claim to be larger than the file")
    if len({part.filename.lower() for part in parts}) < len(parts):  # it would be unclear which one is read
        raise ValueError("two of its parts have the same name")
    broken = archive.testzip()
    if broken:
        raise ValueError(f"its part {broken} does not match its checksum")
    for part in parts:
        if part.filename.lower().endswith(".pkl"):
            with archive.open(part) as file:
                check_pickle(file)


def check_pickle(file: IO[bytes]) -> None:
    """Scan one pickle without loading it. Raises OtherFormat if it refers to anything other than tensors.

    PyTorch's reader rejects the opcodes that refer to objects in other ways (INST, STACK_GLOBAL).
    """
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name == "GLOBAL" and not ALLOWED_GLOBALS.fullmatch(str(argument)):
            raise OtherFormat(
                f"it refers to {str(argument).replace(' ', '.')}, which no tensor needs; "
                "save only its state dict"
            )


def tensors_in(content: Any) -> Iterator[Tensor]:
    """All tensors in nested dicts, lists and tuples, which may contain themselves."""
    stack, seen = [content], set()
    while stack:
        item = stack.pop()
        if isinstance(item, Tensor):
            yield item
        elif isinstance(item, dict | list | tuple) and id(item) not in seen:
            seen.add(id(item))
            stack.extend(item.values() if isinstance(item, dict) else item)


def check_size(tensor: Tensor) -> None:
    """Raise ValueError if the shape of a tensor needs more bytes than its storage has."""
    size = math.prod(side or 1 for side in tensor.shape) * tensor.element_size()
    if size > max(tensor.untyped_storage().nbytes(), MAX_EMPTY_SIZE if not tensor.numel() else 0):
        raise ValueError(f"a tensor of shape {tuple(tensor.shape)} is larger than its stored values")
