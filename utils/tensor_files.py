"""Files of tensors as `torch.save` writes them, read so that their bytes can do no harm.

PyTorch's reader (`weights_only=True`) runs no code of a pickle. It compares no checksums, though, unpacks
parts that are packed, and calls what takes memory by a number alone, `bytearray(10**10)` say. So here, before
it reads: parts lie unpacked in the file, as `torch.save` leaves them, their CRC-32 is that of the file's
directory, and the pickle asks for nothing but tensors. Files from before PyTorch 1.6 are no archives and have
no checksums.
"""

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

from utils.errors import UserError, is_shortage

ARCHIVE = b"PK\x03\x04"  # by this, PyTorch's reader tells an archive
PICKLES_OF_OLD = 5  # what a file without an archive begins with
PLAIN = re.compile(
    r"collections OrderedDict|torch Size|torch(\.cuda)? [A-Za-z0-9]+Storage|"
    r"torch\._utils _rebuild_(tensor|tensor_v2|parameter)"
)
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
        check_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of unusual pickles: they are read or refused
            content = torch.load(path, map_location="cpu", weights_only=True)
        for tensor in tensors_in(content):
            check_size(tensor)
    except MemoryError:
        raise UserError(f"there is no memory for {path}, of {path.stat().st_size / 2**20:,.0f} MiB") from None
    except Exception as error:  # there is no end to what bytes of any making raise on their way
        if is_shortage(error):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"cannot read {path}: {reason[:300]}; the file is damaged or not a plain file of tensors, "
            "remove it or pass another"
        ) from error
    return content


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
        for _ in range(PICKLES_OF_OLD):
            check_pickle(file)


def check_archive(archive: zipfile.ZipFile, size: int) -> None:
    parts = archive.infolist()
    if any((p.compress_type, p.compress_size) != (zipfile.ZIP_STORED, p.file_size) for p in parts):
        raise ValueError("its parts are packed, which torch.save does not do")
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
            raise ValueError(f"it asks for {str(asked).replace(' ', '.')}, which no tensor needs")


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
