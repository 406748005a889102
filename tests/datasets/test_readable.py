"""Images are opened once, and those that cannot be read are named."""

import logging
from pathlib import Path

import pytest

from datasets.readable import find_unreadable
from tests.conftest import draw_tree


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_what_cannot_be_read_is_named(tmp_path: Path, workers: int, caplog: pytest.LogCaptureFixture) -> None:
    root = draw_tree(tmp_path / "tiny")
    names = [path.relative_to(root).as_posix() for path in sorted(root.glob("*/*/*.png"))]
    assert find_unreadable(root, names, workers=workers) == []
    (root / names[5]).write_bytes(b"torn")
    (root / names[2]).unlink()
    with caplog.at_level(logging.INFO):
        assert find_unreadable(root, names, workers=workers) == [names[2], names[5]]
    assert f"unreadable: {root / names[5]} (cannot identify image file" in caplog.text
    assert f"unreadable images: 2 of {len(names)}" in caplog.text
