"""Arrays in .npy files of a form that is known beforehand.

A header is compared, never parsed: what a file says of itself decides neither how much memory is taken nor
what is run, and whatever differs in order, type or shape is another file.
"""

import io
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

from utils.files import atomic_write, preallocate, with_filename

Shape = tuple[int, ...]


def new_array(path: Path, shape: Shape, dtype: npt.DTypeLike) -> np.memmap:
    """A new file of numbers, mapped into memory. Raises OSError if the disk has no room for it."""
    with with_filename(path):
        file = np.lib.format.open_memmap(path, "w+", np.dtype(dtype), shape)
        preallocate(path)
    return file


def write_array(path: Path, values: np.ndarray) -> None:
    """Write `values` to `path`, atomically."""
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        file.write(header(values.shape, values.dtype))
        file.write(np.ascontiguousarray(values).data)  # of a full disk numpy.save says "0 written" alone


def read_array(path: Path, shape: Shape, dtype: npt.DTypeLike) -> np.memmap:
    """The numbers in the file at `path`, read when they are looked at; changes stay in memory.

    Raises ValueError if it is not an array of `shape` and `dtype`, row by row, and nothing else.
    """
    start, dtype = header(shape, dtype), np.dtype(dtype)
    wanted = f"{path.name} is not an array {shape} of {dtype}"
    # the size first: a pipe would be waited for
    if not path.is_file() or path.stat().st_size != len(start) + math.prod(shape) * dtype.itemsize:
        raise ValueError(wanted)
    with path.open("rb") as file:
        if file.read(len(start)) != start:
            raise ValueError(wanted)
    # copy-on-write: PyTorch takes no read-only memory
    return np.memmap(path, dtype, "c", len(start), shape)


def header(shape: Shape, dtype: npt.DTypeLike) -> bytes:
    """How a file of such an array starts."""
    file = io.BytesIO()
    said = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, said)
    return file.getvalue()
