"""Files of a run, damaged or from a stranger: rebuilt or refused in one line, never used and never run."""

import io
import json
import random
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phases.search.indices import open_index
from phases.search.searcher import Searcher, open_searcher
from tests.phases.search.test_gallery import COMMON, features_name
from utils.checksums import sha256, write_checksum

RUN, VEC, GALLERY = Path("logs/run"), Path("logs/run/vec"), Path("logs/run/index/dataset")
QUERY = "datasets/data/tiny/sketches/cat/0.png"
NAMED = "photos/cat/1.png"  # row 4 of the gallery


class Trap:
    """Makes the file `sprung` when it is unpickled."""

    def __reduce__(self) -> tuple:
        return Path.touch, (Path("sprung"),)


def saved(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, values, allow_pickle=True)
    return file.getvalue()


def packed(size: int, compression: int) -> bytes:
    """An archive as numpy.savez makes it, of a member of so many zeros."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("weight.npy", bytes(size))
    return file.getvalue()


def spoiled(values: np.ndarray, number: float) -> np.ndarray:
    """Features (2, 9, f_dim) with one of the mirrored photo NAMED replaced by `number`."""
    values = values.copy()
    values[1, 4, 3] = number
    return values


def claiming(shape: str, whole: bytes) -> bytes:
    """A file whose header claims another shape than the 2 x 9 x 8 numbers it has."""
    return whole.replace(b"(2, 9, 8), }" + b" " * (len(shape) - 9), shape.encode() + b", }", 1)


def damages(whole: bytes) -> Iterator[tuple[str, bytes]]:
    """What may stand in the place of a file of features (2, 9, 8): what it is, and its bytes."""
    values = np.load(io.BytesIO(whole))
    middle = len(whole) * 2 // 3
    yield "nothing", b""
    yield "torn", whole[: len(whole) // 2]
    yield "torn in its header", whole[:20]
    yield "too long", whole + b"\0" * 8
    yield "a bit flipped", whole[:middle] + bytes([whole[middle] ^ 4]) + whole[middle + 1 :]
    yield "float64", saved(values.astype(np.float64))
    yield "int32", saved(values.astype(np.int32))
    yield "other byte order", saved(values.astype(">f4"))
    yield "column by column", saved(np.asfortranarray(values))
    yield "transposed", saved(np.ascontiguousarray(values.transpose(1, 0, 2)))
    yield "too few", saved(values[:, 1:])
    yield "no mirrors", saved(values[0])
    yield "huge shape", claiming("(2, 9000000000000, 8)", whole)
    yield "negative shape", claiming("(2, -9, 8)", whole)
    yield "header that is a program", claiming("(__import__('os').system('touch sprung'),)", whole)
    yield "header too deep", b"\x93NUMPY\x01\x00" + (9000).to_bytes(2, "little") + b"(" * 9000
    yield "pickle", saved(np.array([Trap()] * 3, dtype=object))
    yield "archive", packed(100, zipfile.ZIP_STORED)
    yield "zip bomb", packed(1 << 26, zipfile.ZIP_DEFLATED)
    yield "NaN", saved(spoiled(values, np.nan))
    yield "infinity", saved(spoiled(values, -np.inf))


FEW = ("a bit flipped", "huge shape", "pickle", "NaN")
OFTEN = pytest.mark.parametrize("often", [False, pytest.param(True, marks=pytest.mark.long)])


def search(**options: Any) -> tuple[Searcher, list]:
    searcher = open_searcher("run", **COMMON, hash_bits=[8], **options)
    return searcher, searcher.search(QUERY)


@OFTEN
def test_features_of_a_test(trained: Path, command, ledger: Callable, often: bool) -> None:
    """A stranger's come with the right checksum."""
    file, key = VEC / "photo-4.npy", VEC / "features-4.json"
    whole, text = file.read_bytes(), key.read_text()
    cases = 0
    for what, content in damages(whole):
        for checksum in ("of before", "its own") if often or what in FEW else ():
            file.write_bytes(content)
            if checksum == "its own" and what != "a bit flipped":  # whoever does that can write any features
                record = json.loads(text)
                record["sha256"]["photo"] = sha256(file)
                key.write_text(json.dumps(record))
            status, output, errors = command("test", "--save_path=run", "--hash_bits")
            assert status == 0 and "recomputing them" in output, (what, checksum, output, errors)
            assert (f"features of {NAMED} that are not finite" in output) == (what in ("NaN", "infinity"))
            assert file.read_bytes() == whole and key.read_text() == text
            cases += 1
    assert not Path("sprung").exists() and cases == (42 if often else 8)
    ledger(
        3,
        "features of a test: cut, of another type, order or shape, a pickle, a zip bomb, NaN and more, "
        "with the checksum of before and with one of their own",
        times=cases,
        outcome="rebuilt with a line that says why, for NaN with the name of the image; nothing was run",
    )


@OFTEN
def test_features_of_a_gallery(
    trained: Path, caplog: pytest.LogCaptureFixture, ledger: Callable, often: bool
) -> None:
    _, expected = search()
    state, record = features_name(GALLERY), GALLERY / "gallery.json"
    file, written = GALLERY / state, json.loads(record.read_text())
    whole, cases = file.read_bytes(), 0
    for what, content in damages(whole):
        for checksum in ("of before", "its own") if often or what in FEW else ():
            cases += 1
            caplog.clear()
            file.write_bytes(content)
            if checksum == "its own" and what != "a bit flipped":
                digest = sha256(file)
                file.rename(GALLERY / f"features.{digest[:12]}.npy")
                record.write_text(json.dumps({**written, "sha256": digest}))
            assert search()[1] == expected, what
            assert "cannot be used" in caplog.text and "rebuilding it" in caplog.text, (what, checksum)
            assert (f"features of {NAMED} that are not finite" in caplog.text) == (
                what in ("NaN", "infinity")
            )
            assert sorted(path.name for path in GALLERY.iterdir()) == [state, "gallery.json"]
            assert file.read_bytes() == whole
    assert not Path("sprung").exists()
    ledger(
        3,
        "features of a gallery, in the same ways",
        times=cases,
        outcome="rebuilt with a line that says why; nothing was run",
    )


TEXTS = [
    "",
    "{",
    "[]",
    "null",
    "3",
    '"x"',
    "[" * 100_000,
    "NaN",
    '{"sha256": NaN}',
    "{}",
    "\x00",
    '{"a": 1e999}',
]
VALUES: list[Any] = [
    None,
    [],
    {},
    -1,
    1e999,
    "x",
    "../../x",
    "\0",
    [[]],
    [["a", 1]],
    [["a", 1e999, 1]],
    {"a": {}},
    True,
]


def spoil_json(path: Path, rng: random.Random) -> str:
    """Write another text to a JSON file, or another value for one of its keys; what was done."""
    known = json.loads(path.read_text())
    chosen = rng.choice([*TEXTS, *known, *known, *known])
    if chosen in known:
        value = rng.choice(VALUES)
        known[chosen] = value
        path.write_text(json.dumps(known))  # 1e999 becomes Infinity
        if rng.random() < 0.5:
            path.write_text(json.dumps(known).replace("Infinity", "1e999"))
        return f"{chosen}: {value}"
    path.write_text(chosen)
    return chosen[:20]


@pytest.mark.parametrize("times", [4, pytest.param(300, marks=pytest.mark.long)])
def test_damaged_records_of_features(trained: Path, command, ledger: Callable, times: int) -> None:
    rng = random.Random(times)
    _, expected = search()
    vec, gallery = VEC / "features-4.json", GALLERY / "gallery.json"
    whole = {vec: vec.read_bytes(), gallery: gallery.read_bytes()}
    for number in range(times):
        path = (vec, gallery)[number % 2]
        done = spoil_json(path, rng)
        arguments = ("test",) if path == vec else ("index", "--hash_bits=8")
        status, output, errors = command(*arguments, "--save_path=run")
        assert status == 0 and "Traceback" not in output + errors, (done, output, errors)
        # the step is only informative, and an empty list of unreadable images may take any form
        nothing = ("unreadable: []", "unreadable: {}", "unreadable: ")
        harmless = path == gallery and ("step" in done or done in nothing)
        assert "recomputing" in output or "rebuilding" in output or harmless, (done, output)
        assert vec.read_bytes() == whole[vec], done
        path.write_bytes(whole[path])
    assert search()[1] == expected
    ledger(
        3,
        "gallery.json and features-*.json with other texts, or other values for their keys, at random",
        times=times,
        outcome="features rebuilt with a line that says why; no traceback",
    )


@pytest.mark.parametrize("times", [20, pytest.param(2000, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", ["hnsw", "binary"])
def test_damaged_indices_are_rebuilt(
    trained: Path, name: str, ledger: Callable, caplog: pytest.LogCaptureFixture, times: int
) -> None:
    """FAISS is given none of them."""
    if name == "hnsw":
        pytest.importorskip("faiss")
    rng = random.Random(times)
    searcher, expected = search(index=name)
    paths = [path for path in GALLERY.iterdir() if name in path.name]
    whole = {path: path.read_bytes() for path in paths}
    assert len(paths) == {"hnsw": 2, "binary": 4}[name]
    for _ in range(times):
        path = rng.choice(paths)
        content = bytearray(whole[path])
        kind = rng.randrange(4)
        place = rng.randrange(len(content))
        if kind == 0:
            path.unlink()
        else:
            if kind == 1:
                content = content[:place]
            elif kind == 2:
                content[place] ^= 1 << rng.randrange(8)
            else:
                content[place:place] = rng.randbytes(8)
            path.write_bytes(content)
        caplog.clear()
        index = open_index(name, searcher.gallery, searcher.checkpoint, searcher.config, searcher.device)
        assert kind == 0 or "cannot be used" in caplog.text
        assert {each: each.read_bytes() for each in paths} == whole
        searcher.indices[name] = index
        assert searcher.search(QUERY) == expected
    ledger(
        3,
        f"files of the index {name} cut, with a bit flipped, with bytes put in, or gone",
        times=times,
        outcome="rebuilt with a line that says why, equal bit for bit; FAISS is given none of them",
    )


def test_codes_of_a_stranger(trained: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With their checksums: of another form they are not used, whatever it is."""
    _, expected = search(index="binary")
    (codes,) = GALLERY.glob("*binary*-2")
    (fitted,) = GALLERY.glob("*.map")
    whole = {path: path.read_bytes() for path in (codes, fitted)}
    for path in (codes, fitted):
        values = np.load(io.BytesIO(whole[path]))
        for content in (
            saved(np.array([Trap()], dtype=object)),
            saved(values[..., 1:]),
            saved(values.astype(">f8")),
            packed(1 << 26, zipfile.ZIP_DEFLATED),
            claiming("(2, 9000000000000, 8)", whole[path]),
            b"",
        ):
            path.write_bytes(content)
            write_checksum(path)
            caplog.clear()
            assert search(index="binary")[1] == expected or content == whole[path]
            assert "cannot be used" in caplog.text or content == whole[path]
            assert path.read_bytes() == whole[path]
    assert not Path("sprung").exists()


# what is in the place of a result.json, or of some entries of its first record
RECORDS: list[str | dict[str, Any]] = [
    "",
    "{}",
    "null",
    "[1]",
    "[{}]",
    "[" * 100_000,
    "[NaN]",
    {"metrics": {}},
    {"metrics": {"MAP": "x"}},
    {"metrics": {"MAP": None}},
    {"hash": {"4": []}},
    {"hash": {"4": {"fit_loss": 0.5}}},
    {"counts": {}},
    {"per_category_MAP": {"cat": "x"}},
    {"step": "x"},
    {"mirror": 1},
    {"training_options": 7},
    {"seed": "x"},
    {"chance": {}},
]


@pytest.mark.parametrize(
    ("content", "arguments"),
    [
        *((content, ("test",)) for content in RECORDS),
        *((content, ("report",)) for content in RECORDS if isinstance(content, dict)),
        ("[{}]", ("report",)),
        ("[{}]", ("export", "--format=torchscript")),
    ],
    ids=lambda value: str(value)[:40] or "nothing",
)
def test_results_of_another_form_are_refused(
    trained: Path, command, content: str | dict[str, Any], arguments: tuple
) -> None:
    path = RUN / "log/result.json"
    if not isinstance(content, str):
        content = json.dumps([{**json.loads(path.read_text())[0], **content}])
    path.write_text(content)
    before = path.read_bytes()
    status, output, errors = command(*arguments, "--save_path=run")
    assert status == 2, (output, errors)
    line = errors[errors.index("error: ") :]
    assert "cannot read logs/run/log/result.json" in line and len(line.strip().splitlines()) == 1
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "text", ["step\nx\n", "loss\n1\n", "step,loss\n1,2,3\n", "step,loss\n\0,1\n", "step,loss\n1,\udcff\n"]
)
def test_scalars_of_another_form_are_refused(trained: Path, command, text: str) -> None:
    path = RUN / "log/scalars.csv"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    status, output, errors = command("report", "--save_path=run")
    assert status == 2, (output, errors)
    line = errors[errors.index("error: ") :]
    assert "cannot read logs/run/log/scalars.csv" in line and len(line.strip().splitlines()) == 1


def test_scalars_that_are_not_finite_are_left_out(trained: Path, command) -> None:
    path = RUN / "log/scalars.csv"
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, *rows, ",".join(["9", *["nan"] * head.count(",")])]) + "\n")
    status, _, errors = command("report", "--save_path=run")
    assert status == 0, errors
    numbers = json.loads((RUN / "report/report.json").read_text())
    assert len(numbers["training"]["step"]) == len(rows)
