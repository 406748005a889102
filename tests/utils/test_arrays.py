"""An array is read if it is what was written, and else not looked into."""

import os
from pathlib import Path

import numpy as np
import pytest

from utils.arrays import new_array, read_array, write_array


@pytest.mark.parametrize(("shape", "dtype"), [((2, 3, 4), np.float32), ((1, 5), np.uint64), ((7,), np.uint8)])
def test_what_is_written_is_read_and_numpy_reads_it(tmp_path: Path, shape: tuple[int, ...], dtype) -> None:
    values = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    write_array(tmp_path / "whole.npy", values)
    mapped = new_array(tmp_path / "mapped.npy", shape, dtype)
    mapped[:] = values
    mapped.flush()
    assert (tmp_path / "whole.npy").read_bytes() == (tmp_path / "mapped.npy").read_bytes()
    for name in ("whole.npy", "mapped.npy"):
        assert np.array_equal(np.load(tmp_path / name), values)
        found = read_array(tmp_path / name, shape, dtype)
        assert np.array_equal(found, values) and found.dtype == dtype
        found[...] = 0
        assert np.array_equal(np.load(tmp_path / name), values), "what is read does not change the file"


def test_what_is_not_an_array_of_this_form_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.npy"
    write_array(path, np.zeros((2, 3), np.float32))
    for shape, dtype in (((3, 2), np.float32), ((2, 3), np.int32), ((6,), np.float32), ((2, 2), np.float32)):
        with pytest.raises(ValueError, match=r"file\.npy is not an array"):
            read_array(path, shape, dtype)
    np.save(path, np.asfortranarray(np.zeros((2, 3), np.float32)))
    with pytest.raises(ValueError, match="is not an array"):
        read_array(path, (2, 3), np.float32)
    path.unlink()
    with pytest.raises(ValueError, match="is not an array"):
        read_array(path, (2, 3), np.float32)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npy")
    with pytest.raises(ValueError, match="is not an array"):
        read_array(tmp_path / "pipe.npy", (2,), np.float32)
