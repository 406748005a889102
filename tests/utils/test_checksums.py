"""A sealed file is known by its bytes."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from utils.checksums import BLOCK, sha256, verify_checksum, write_checksum


@pytest.mark.parametrize("size", [0, 5, BLOCK, BLOCK + 1])
def test_the_checksum_is_that_of_all_bytes(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * (size // 256) + b"x" * (size % 256))
    assert sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_sealed_file_that_changed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    with pytest.raises(ValueError, match=r"there is no file\.sha256 beside it"):
        verify_checksum(path)
    write_checksum(path)
    verify_checksum(path)
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--check", "--strict", "file.sha256"], cwd=tmp_path, check=True)
    path.write_bytes(b"contend")
    with pytest.raises(ValueError, match="its checksum does not match"):
        verify_checksum(path)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        verify_checksum(path)
