"""--phase=search as a user calls it."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

import main
from retrieval import hashing
from retrieval.search import find_nearest
from tests.conftest import SMALL_RUN

CAT = "datasets/data/tiny/sketches/cat"


def results(folder: str = "logs/run/search") -> dict:
    return json.loads((Path(folder) / "results.json").read_text())


def of_test(name: str, kind: str = "euclidean") -> tuple[list[str], np.ndarray]:
    """The photos nearest to a test sketch by the features of the test: names and distances."""
    sketches, photos = (
        np.load(f"logs/run/vec/{side}-4.npy").transpose(1, 2, 0) for side in ("sketch", "photo")
    )
    lists = {
        side: json.loads(Path(f"anno/tiny_{side}.json").read_text())["test"] for side in ("sketch", "photo")
    }
    row = [each for each, _ in lists["sketch"]].index(name)
    positions, distances = find_nearest(sketches[row : row + 1], photos, kind, 9, memory=1)
    return [lists["photo"][position][0] for position in positions[0]], distances[0]


def a_test_sketch() -> str:
    return json.loads(Path("anno/tiny_sketch.json").read_text())["test"][0][0]


def test_a_test_sketch_finds_what_the_test_finds(trained: Path, command) -> None:
    name = a_test_sketch()
    query = f"datasets/data/tiny/{name}"
    status, output, errors = command("search", "--save_path=run", "--query", query, "--top=9")
    assert status == 0, errors
    expected, distances = of_test(name)
    lines = output[output.index(query) :].splitlines()
    assert lines[1].split() == ["rank", "distance", "category", "file"]
    assert all(line.endswith(f" {photo}") for line, photo in zip(lines[2:11], expected, strict=True))
    record = results()
    (only,) = record["queries"]
    assert only["category"] == Path(name).parent.name and only["notes"] == []
    assert [hit["file"] for hit in only["hits"]] == [f"datasets/data/tiny/{photo}" for photo in expected]
    assert [hit["rank"] for hit in only["hits"]] == list(range(1, 10))
    assert np.allclose([hit["distance"] for hit in only["hits"]], distances, rtol=1e-4, atol=1e-6)
    assert record["step"] == 4 and record["index"] == "flat" and record["gallery"]["photos"] == 9
    with Image.open("logs/run/search/contact_sheet.png") as sheet:
        assert sheet.format == "PNG" and sheet.width > 9 * 96


def test_angles_are_given_in_degrees(trained: Path, command) -> None:
    name = a_test_sketch()
    arguments = ["--query", f"datasets/data/tiny/{name}", "--test_distance=angular", "--top=9"]
    assert command("search", "--save_path=run", *arguments)[0] == 0
    expected, distances = of_test(name, "angular")
    hits = results()["queries"][0]["hits"]
    assert [hit["file"].split("tiny/")[1] for hit in hits] == expected
    degrees = np.degrees(np.arccos(1 - distances / 2))
    assert np.allclose([hit["distance"] for hit in hits], degrees, atol=1e-2)
    assert results()["unit of distance"] == "angle in degrees"


def test_files_and_folders_of_drawings(trained: Path, command) -> None:
    drawing = Image.new("L", (300, 200), 0)  # white on black, and not square
    ImageDraw.Draw(drawing).ellipse((100, 40, 220, 160), outline=255, width=4)
    drawing.save("my drawing.png")
    status, output, errors = command(
        "search", "--save_path=run", "--query", "my drawing.png", CAT, "--top=3", "--output=found"
    )
    assert status == 0, errors
    queries = results("found")["queries"]
    assert [each["query"] for each in queries] == ["my drawing.png", *(f"{CAT}/{n}.png" for n in range(4))]
    assert [each["category"] for each in queries] == [None, "cat", "cat", "cat", "cat"]
    assert any("inverted" in note for note in queries[0]["notes"]) and "inverted" in output
    assert Path("found/contact_sheet.png").is_file() and not Path("logs/run/search").exists()
    status, output, _ = command(
        "search", "--save_path=run", "--query", "my drawing.png", "--clean_query=off", "--output=plain"
    )
    assert status == 0 and results("plain")["queries"][0]["notes"] == [] and "inverted" not in output


def test_a_bad_drawing_is_named_and_the_others_are_searched_with(trained: Path, command) -> None:
    Image.new("L", (64, 64), 255).save("blank.png")
    queries = [f"{CAT}/0.png", "blank.png", f"{CAT}/1.png"]
    status, output, _ = command("search", "--save_path=run", "--query", *queries)
    assert status == 2 and "error: blank.png: the picture is empty" in output
    assert [each["query"] for each in results()["queries"]] == [queries[0], queries[2]]
    assert results()["failed"][0]["query"] == "blank.png"


def test_the_folders_of_the_training_are_known(tree: Path, command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "FIT_STEPS", 100)
    tree.parent.rename("elsewhere")
    where = [
        "--data_path=elsewhere",
        "--anno_path=lists",
        "--dataset=tiny",
        "--device=cpu",
        "--num_workers=0",
    ]
    assert command("prepare", *where, "--test_per_category=2")[0] == 0
    assert command("train", *where, *SMALL_RUN)[0] == 0
    query = "elsewhere/tiny/sketches/cat/0.png"
    options = ["--phase=search", "--save_path=run", "--query", query, "--num_workers=0", "--device=cpu"]
    assert main.main(options) == 0
    assert results()["gallery"]["folder"] == "elsewhere/tiny"
    Path("elsewhere").rename("gone")
    options[3] = query.replace("elsewhere", "gone")
    assert main.main(options) == 2
    assert main.main([*options, "--data_path=gone"]) == 0


def test_own_photos_on_a_machine_without_the_data_set(trained: Path, command) -> None:
    Path("datasets/data/tiny/photos/cat").rename("mine")
    sketch = shutil.copy(f"{CAT}/0.png", "drawing.png")
    shutil.rmtree("datasets")
    shutil.rmtree("anno")
    status, output, errors = command(
        "search", "--save_path=run", "--gallery=mine", "--query", sketch, "--top=2", "--index=binary"
    )
    assert status == 0, errors
    assert "bits that differ, of 128" in output and "category" not in output
    assert {Path(hit["file"]).parent.name for hit in results()["queries"][0]["hits"]} == {"mine"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--phase=search needs --query"),
        (["--query", "nowhere.png"], "no file or folder nowhere.png; check --query"),
        (["--query", "empty"], "no image in empty"),
        (["--query", "text.png"], "cannot read image text.png"),
        (["--query", "blank.png"], "blank.png"),
        (["--query", f"{CAT}/0.png", "--gallery=nowhere"], "no folder nowhere; check its path"),
        (["--query", f"{CAT}/0.png", "--index=ivfpq"], "take --index=flat"),
        (["--query", f"{CAT}/0.png", "--index=binary", "--hash_bits"], "give --hash_bits"),
        (["--query", f"{CAT}/0.png", "--evaluate"], "--evaluate has no meaning"),
        (["--query", f"{CAT}/0.png", "--output=text.png"], "--output text.png is a file"),
        (["--query", f"{CAT}/0.png", "--log_step=3"], "--log_step has no meaning"),
    ],
)
def test_mistakes_are_named(trained: Path, command, arguments: list[str], message: str) -> None:
    Path("empty").mkdir()
    Path("text.png").write_text("no image")
    Image.new("L", (64, 64), 255).save("blank.png")
    status, _, errors = command("search", "--save_path=run", *arguments)
    assert status == 2 and message in errors and "Traceback" not in errors
    assert not Path("logs/run/search").exists()


@pytest.mark.parametrize("option", ["--query", "--gallery", "--output", "--data_path", "--anno_path"])
@pytest.mark.parametrize("value", ["", " "])
def test_an_empty_path_is_not_the_current_folder(trained: Path, command, option: str, value: str) -> None:
    status, _, errors = command("search", "--save_path=run", f"--query={CAT}/0.png", option, value)
    assert status == 2 and f"{option}: is empty: give a file or folder" in errors
    assert not Path("logs/run/search").exists()


def test_without_faiss_flat_and_binary_search_and_others_say_what_to_install(
    trained: Path, command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    for index in ("flat", "binary"):
        assert command("search", "--save_path=run", "--query", f"{CAT}/0.png", f"--index={index}")[0] == 0
    status, _, errors = command("search", "--save_path=run", "--query", f"{CAT}/0.png", "--index=hnsw")
    assert status == 2 and "pip install -r requirements/search.txt" in errors
    status, output, errors = command(  # before anything is embedded
        "index", "--save_path=run", "--gallery=datasets/data/tiny/photos", "--index=hnsw"
    )
    assert status == 2 and "requirements/search.txt" in errors and "gallery" not in output
