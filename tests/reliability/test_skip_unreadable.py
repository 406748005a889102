"""Images that cannot be read: a run stops by name, or with --skip_unreadable goes on without them."""

import json
from pathlib import Path

import pytest

from retrieval import hashing
from tests.conftest import SMALL_RUN
from utils import checkpoints

SKETCH, PHOTO = "sketches/cat/{}.png", "photos/hot-dog/1.png"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "FIT_STEPS", 10)


def listed(part: str) -> list[str]:
    """The sketches of a part of the lists."""
    return [name for name, _ in json.loads(Path("anno/tiny_sketch.json").read_text())[part]]


def tear(root: Path, *names: str) -> dict[str, bytes]:
    """Cut these images in half; what they were."""
    whole = {name: (root / name).read_bytes() for name in names}
    for name, content in whole.items():
        (root / name).write_bytes(content[: len(content) // 2])
    return whole


def record() -> dict:
    (found,) = json.loads(Path("logs/run/log/result.json").read_text())
    return found


def weights(run: str = "run", step: int = 4) -> dict:
    return checkpoints.load(Path(f"logs/{run}/model/checkpoint-{step}.pt"))


@pytest.fixture
def torn(prepared: Path) -> list[str]:
    """A training sketch, a test sketch and a photo that cannot be read."""
    names = sorted(
        [
            *(next(name for name in listed(part) if "/cat/" in name) for part in ("train", "test")),
            PHOTO,
        ]
    )
    tear(prepared, *names)
    return names


def test_by_default_it_stops_by_name(prepared: Path, torn: list[str], command) -> None:
    status, _, errors = command("train", *SMALL_RUN)
    assert status == 2 and errors.splitlines()[-1].startswith("error: cannot read image datasets/data/tiny/")
    assert any(name in errors for name in torn) and "--skip_unreadable" in errors
    assert not Path("logs/run/model/checkpoint-4.pt").exists()


def test_with_it_training_and_all_after_it_go_on(prepared: Path, torn: list[str], command) -> None:
    status, output, errors = command("train", *SMALL_RUN, "--skip_unreadable")
    assert status == 0, errors
    for name in torn:
        assert f"unreadable: datasets/data/tiny/{name} (" in output
    assert f"warning: 3 images cannot be read and are left out: {', '.join(torn)}" in output
    found = record()
    assert found["left_out"] == torn == weights()["left_out"]
    assert (found["counts"]["queries"], found["counts"]["gallery"]) == (5, 8)

    for phase, more in (("test", []), ("index", []), ("index", ["--evaluate"]), ("train", [])):
        status, output, errors = command(phase, "--save_path=run", *more)
        assert status == 0, errors
        assert f"excluded, as in the training: {', '.join(torn)}" in output
    assert record()["left_out"] == torn
    (prepared / PHOTO).unlink()  # what nobody reads may go
    query = prepared / "sketches/hot-dog/0.png"
    status, output, errors = command("search", "--save_path=run", f"--query={query}")
    assert status == 0 and PHOTO not in output.partition("rank")[2], errors
    (prepared / "photos/cat/0.png").unlink()
    status, _, errors = command("test", "--save_path=run")
    assert status == 2 and "names 1 files that are not in" in errors and "photos/cat/0.png" in errors


@pytest.mark.parametrize("photo_list", [True, False])
def test_a_stopped_training_goes_on_without_the_same(
    prepared: Path, torn: list[str], command, photo_list: bool
) -> None:
    if not photo_list:
        Path("anno/tiny_photo.json").unlink()
    arguments = [*SMALL_RUN, "--model_save_step=2"]
    whole = tear(prepared)  # nothing more
    assert command("train", *arguments, "--skip_unreadable")[0] == 0
    for name in torn:  # they are mended meanwhile: still, this training was without them
        whole[name] = (prepared / name).read_bytes()
        (prepared / name).write_bytes((prepared / "sketches/bear (animal)/0.png").read_bytes())
    Path("logs/again/model").mkdir(parents=True)
    Path("logs/run/model/checkpoint-2.pt").rename("logs/again/model/checkpoint-2.pt")
    status, output, errors = command("train", "--save_path=again", "--skip_unreadable")
    assert status == 0, errors
    assert "excluded, as in the training: " in output and "the run is not the same" not in output
    one, other = weights(), weights("again")
    assert one["left_out"] == other["left_out"] == torn
    for part in ("network", "loss"):
        assert all((one[part][name] == other[part][name]).all() for name in one[part])


def test_what_breaks_between_stop_and_continuation(prepared: Path, torn: list[str], command) -> None:
    arguments = [*SMALL_RUN, "--model_save_step=2"]
    assert command("train", *arguments, "--skip_unreadable")[0] == 0
    Path("logs/run/model/checkpoint-4.pt").unlink()
    more = [next(name for name in listed(part) if "/bear" in name) for part in ("train", "test")]
    tear(prepared, *more)
    status, _, errors = command("train", "--save_path=run")
    assert status == 2 and "cannot read image" in errors and any(name in errors for name in more)
    for path in Path("logs/run/model").glob("checkpoint-[3-9].pt"):
        path.unlink()
    status, output, errors = command("train", "--save_path=run", "--skip_unreadable")
    assert status == 0, errors
    assert f"warning: 2 images cannot be read and are left out: {', '.join(sorted(more))}" in output
    assert "without them the run is not the same" in output
    assert weights()["left_out"] == record()["left_out"] == sorted([*torn, *more])


def test_a_test_leaves_out_what_broke_since(trained: Path, command) -> None:
    root = Path("datasets/data/tiny")
    before = record()
    assert before["left_out"] == []
    name = listed("test")[0]
    whole = tear(root, name, PHOTO)
    status, _, errors = command("test", "--save_path=run")
    assert status == 2 and "cannot read image" in errors and (name in errors or PHOTO in errors)
    status, output, errors = command("test", "--save_path=run", "--skip_unreadable")
    assert status == 0 and "2 images" in output, errors
    assert record()["left_out"] == sorted([name, PHOTO])
    assert record()["counts"]["queries"] == 5 and record()["lists"] == before["lists"]
    status, output, _ = command("index", "--save_path=run", "--skip_unreadable")
    assert status == 0 and "index flat of 8 photos" in output
    for each, content in whole.items():
        (root / each).write_bytes(content)
    status, output, _ = command("test", "--save_path=run", "--skip_unreadable")
    assert status == 0 and "unreadable images: 0 of 15" in output  # other features than without the two
    assert record()["left_out"] == [] and record()["metrics"] == before["metrics"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("photos/cat/*", "no image of cat in train photos can be read (1 categories in all)"),
        ("sketches/*/*", "no image of bear (animal) in train sketches can be read (3 categories in all)"),
    ],
)
def test_a_category_without_any_image_is_an_error(
    prepared: Path, command, pattern: str, message: str
) -> None:
    tear(prepared, *(path.relative_to(prepared).as_posix() for path in prepared.glob(pattern)))
    status, _, errors = command("train", *SMALL_RUN, "--skip_unreadable")
    assert status == 2 and message in errors
    assert not Path("logs/run").exists()


def test_tables_are_made_without_them(prepared: Path, torn: list[str], command) -> None:
    table = ["--table", "mirror", "--seeds=1", *SMALL_RUN[:-1], "--save_path=tables"]
    status, _, errors = command("reproduce", *table)
    assert status == 2 and "cannot read image" in errors
    status, _, errors = command("reproduce", *table, "--skip_unreadable")
    assert status == 0, errors
    (result,) = Path("logs/tables").glob("*/seed-0/log/result.json")
    assert all(each["left_out"] == torn for each in json.loads(result.read_text()))


def test_with_kept_pixels(prepared: Path, torn: list[str], command) -> None:
    status, _, errors = command("train", *SMALL_RUN, "--cache_images")
    assert status == 2 and "cannot read image" in errors
    assert command("train", *SMALL_RUN, "--cache_images", "--skip_unreadable")[0] == 0
    kept = weights()
    assert command("train", *SMALL_RUN[:-1], "--save_path=other", "--skip_unreadable")[0] == 0
    other = weights("other")
    assert all((kept["network"][name] == other["network"][name]).all() for name in kept["network"])


def test_it_has_no_meaning_for_other_phases(prepared: Path, command) -> None:
    status, _, errors = command("export", "--skip_unreadable")
    assert status == 2 and "--skip_unreadable has no meaning for --phase=export" in errors
