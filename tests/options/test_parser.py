"""Options from files, spellings, and values from Python."""

from pathlib import Path

import pytest

from options.declarations import OPTIONS
from options.parser import parse, parse_values
from utils.errors import UserError


def test_hyphens_are_read_as_underscores() -> None:
    options = parse(["--save-path=a-b", "--num-steps", "7", "--no-normalize", "--anno-path", "x-y"])
    assert (options.save_path, options.num_steps, options.normalize) == ("a-b", 7, False)
    assert options.anno_path == Path("x-y")
    assert options.given == {"save_path", "num_steps", "normalize", "anno_path"}


@pytest.mark.parametrize(
    "content",
    [
        b"--num_steps=7\n--margin=2\n",
        b"\xef\xbb\xbf--num_steps=7\r\n--margin=2\r\n",
        b"# a comment\n\n--num_steps=7\n  # another\n   --margin=2  \n\n",
        b"--num-steps\n7\n--margin\n2",
    ],
    ids=["plain", "BOM and CRLF", "comments, empty lines and blanks", "values on lines of their own"],
)
def test_a_file_of_options(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "run.args").write_bytes(content)
    options = parse([f"@{tmp_path}/run.args", "--lr=0.5"])
    assert (options.num_steps, options.margin, options.lr) == (7, 2.0, 0.5)
    assert options.given == {"num_steps", "margin", "lr"}


def test_a_file_of_options_names_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("outer.args").write_text("--lr=0.5\n@inner.args\n@inner.args\n")
    Path("inner.args").write_text("--margin=2\n")
    options = parse(["@outer.args"])
    assert (options.lr, options.margin) == (0.5, 2.0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "--dataset=café".encode("latin-1"),
            r"cannot read options from run.args: it is not UTF-8 \(byte 14 is 0xe9\): save it as UTF-8",
        ),
        ("--lr=1".encode("utf-16"), "cannot read options from run.args: it is UTF-16: save it as UTF-8"),
        (b"@run.args", "includes itself; remove the line @run.args"),
        (b"@other.args", "includes itself; remove the line @run.args"),
        (b"@missing.args", "cannot read options from missing.args: No such file"),
    ],
)
def test_a_bad_file_of_options_is_refused(
    content: bytes, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run.args").write_bytes(content)
    Path("other.args").write_text("@run.args")
    with pytest.raises(UserError, match=message):
        parse(["@run.args"])


def test_an_option_of_another_phase_has_its_default() -> None:
    options = parse(["--phase=serve", "--port=80"])
    assert vars(options).keys() - {"given", "compared"} == OPTIONS.keys()
    assert (options.port, options.lr, options.query, options.test_per_category) == (80, 1e-4, None, None)


def test_values_from_python() -> None:
    options = parse_values(
        {
            "phase": "test",
            "mirror": False,
            "all_definitions": True,
            "normalize": False,
            "hash_bits": [],
            "seed": 3,
        }
    )
    assert (options.mirror, options.all_definitions, options.normalize) == ("off", True, False)
    assert (options.hash_bits, options.seed) == ([], 3)
    assert parse_values({"phase": "test", "all_definitions": False, "margin": None}).given == {"phase"}
    with pytest.raises(UserError, match="there is no option marign; did you mean --margin"):
        parse_values({"marign": 2})
    with pytest.raises(UserError, match="'x' is not a number"):
        parse_values({"margin": "x"})
