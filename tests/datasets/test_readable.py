"""Images are opened once, and those that cannot be read are named."""

import errno
import logging
from pathlib import Path

import pytest
from PIL import Image

from datasets.readable import find_unreadable
from tests.conftest import draw_tree
from utils.errors import UserError


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_what_cannot_be_read_is_named(tmp_path: Path, workers: int, caplog: pytest.LogCaptureFixture) -> None:
    root = draw_tree(tmp_path / "tiny")
    names = [path.relative_to(root).as_posix() for path in sorted(root.glob("*/*/*.png"))]
    assert find_unreadable(root, names, workers=workers) == []
    (root / names[5]).write_bytes(b"torn")
    (root / names[2]).unlink()
    with caplog.at_level(logging.INFO):
        assert find_unreadable(root, names, workers=workers) == [names[2], names[5]]
    assert f"unreadable: {root / names[5]} (it is not an image in a supported format)" in caplog.text
    assert f"unreadable images: 2 of {len(names)}" in caplog.text


def test_a_shortage_of_the_machine_says_nothing_of_an_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be left out for good."""
    root = draw_tree(tmp_path / "tiny")

    def short(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Image, "open", short)
    with pytest.raises(UserError, match=r"cannot read image .*cat.0\.png: .*Too many open files; allow more"):
        find_unreadable(root, ["photos/cat/0.png"], workers=1)
