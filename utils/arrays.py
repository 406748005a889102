"""Arrays in .npy files whose shape and dtype the reader knows in advance.

The header is compared with the expected one, never parsed, so a malicious file can neither run code nor claim
memory. A file with another memory order, dtype or shape is rejected.
"""

import io
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

from utils.files import atomic_write, preallocate, with_filename

Shape = tuple[int, ...]


def new_array(path: Path, shape: Shape, dtype: npt.DTypeLike) -> np.memmap:
    """Create a memory-mapped array file. Raises OSError if the disk is too full for it."""
    with with_filename(path):
        file = np.lib.format.open_memmap(path, "w+", np.dtype(dtype), shape)
        preallocate(path)
    return file


def write_array(path: Path, values: np.ndarray) -> None:
    """Write `values` to `path`, atomically."""
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        file.write(header(values.shape, values.dtype))
        file.write(np.ascontiguousarray(values).data)  # on a full disk, numpy.save only says "0 written"


def read_array(path: Path, shape: Shape, dtype: npt.DTypeLike) -> np.memmap:
    """Memory-map the array in the file at `path`; values are read on access, and changes stay in memory.

    Raises ValueError unless the file holds exactly one C-ordered array of `shape` and `dtype`.
    """
    start, dtype = header(shape, dtype), np.dtype(dtype)
    message = f"{path.name} is not an array {shape} of {dtype}"
    # check is_file first: opening a pipe would block
    if not path.is_file() or path.stat().st_size != len(start) + math.prod(shape) * dtype.itemsize:
        raise ValueError(message)
    with path.open("rb") as file:
        if file.read(len(start)) != start:
            raise ValueError(message)
    # copy-on-write, because PyTorch does not accept read-only memory
    return np.memmap(path, dtype, "c", len(start), shape)


def header(shape: Shape, dtype: npt.DTypeLike) -> bytes:
    """The bytes of the .npy header of an array of `shape` and `dtype`."""
    file = io.BytesIO()
    fields = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, fields)
    return file.getvalue()
