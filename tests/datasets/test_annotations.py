"""Lists: the published form, the checks, and photos listed from the folder."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.annotations import load_annotation, read_list
from tests.conftest import CATEGORIES, draw_tree
from utils.errors import UserError

LABELS = {category: 7 + 2 * index for index, category in enumerate(CATEGORIES)}  # arbitrary, sparse


def lists(**changes: list) -> dict[str, dict]:
    sketches = {
        part: [[f"sketches/{c}/{i}.png", label] for c, label in LABELS.items() for i in numbers]
        for part, numbers in (("train", (0, 1)), ("test", (2, 3)))
    }
    photos = [[f"photos/{c}/{i}.png", label] for c, label in LABELS.items() for i in range(3)]
    return {"sketch": sketches | changes, "photo": {"train": photos, "test": photos}}


def write(anno: Path, content: dict[str, dict]) -> None:
    anno.mkdir(exist_ok=True)
    for domain, part in content.items():
        (anno / f"tiny_{domain}.json").write_text(json.dumps(part))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return draw_tree(tmp_path / "tiny")


def load(root: Path):
    return load_annotation(root.parent, root.parent / "anno", "tiny")


def test_label_ids_are_mapped_to_a_range_and_files_found(root: Path) -> None:
    write(root.parent / "anno", lists())
    data = load(root)
    assert data.categories == list(CATEGORIES)
    assert [label for _, label in data.train_sketches] == [0, 0, 1, 1, 2, 2]
    assert len(data.test_sketches) == 6 and len(data.train_photos) == len(data.gallery) == 9
    assert data.gallery[0] == ("photos/bear (animal)/0.png", 0)


@pytest.mark.parametrize("photo_list", ["both parts", "test alone", "none"])
def test_what_is_trained_on_need_not_be_there_for_a_test(root: Path, photo_list: str) -> None:
    content = lists(train=[])
    if photo_list == "test alone":
        content["photo"]["train"] = []
    elif photo_list == "none":
        del content["photo"]
    write(root.parent / "anno", content)
    data = load_annotation(root.parent, root.parent / "anno", "tiny", training=False)
    assert data.categories == list(CATEGORIES) and data.num_train_classes == 3 and not data.zero_shot
    assert len(data.test_sketches) == 6 and len(data.gallery) == 9 and data.train_sketches == []
    with pytest.raises(UserError, match="names no train sketches"):
        load(root)


def test_without_a_photo_list_photos_come_from_the_folder(root: Path) -> None:
    write(root.parent / "anno", {"sketch": lists()["sketch"]})
    (root / "photos/bear (animal)").rename(root / "photos/bearanimal")  # as in TU-Berlin's photo archive
    (root / "photos/hot-dog").rename(root / "photos/hotdog")
    (root / "photos/cat/0.png").rename(root / "photos/cat/0.JPEG")
    data = load(root)
    assert data.gallery == data.train_photos
    assert ("photos/bearanimal/0.png", 0) in data.gallery
    assert ("photos/cat/0.JPEG", 1) in data.gallery
    assert len(data.gallery) == 9


def test_the_digest_tells_lists_apart(root: Path) -> None:
    write(root.parent / "anno", lists())
    first = load(root).digest()
    assert load(root).digest() == first
    content = lists()
    content["sketch"]["train"].reverse()
    write(root.parent / "anno", content)
    assert load(root).digest() != first


FIRST = "sketches/bear (animal)/0.png"


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ([], "names no train sketches"),
        ([*lists()["sketch"]["train"], ["sketches/cat/absent.png", 9]], "sketches/cat/absent.png"),
        ([["../outside.png", 9]], "not a path below"),
        ([["/etc/passwd", 9]], "not a path below"),
        ([["alone.png", 9]], "not a path below"),
        ([["sketches\\cat\\0.png", 9]], "not a path below"),
        ([[FIRST, -1]], "label >= 0"),
        ([[FIRST, "7"]], "label >= 0"),
        ([[FIRST, True]], "label >= 0"),
        ([[FIRST, 7.0]], "label >= 0"),
        ([[FIRST]], "label >= 0"),
        ([FIRST], "label >= 0"),
        ([[FIRST, 7]], "no training sketch for label 9"),
        (
            [*lists(test=[])["sketch"]["train"], ["sketches/hot-dog/9.png", 99]],
            "no training photo for label 99",
        ),
    ],
)
def test_a_bad_entry_is_named(root: Path, train: list, message: str) -> None:
    write(root.parent / "anno", lists(train=train))
    with pytest.raises(UserError) as error:
        load(root)
    assert message in str(error.value)
    assert "tiny_" in str(error.value)


def test_no_test_sketches_and_untrained_test_labels(root: Path) -> None:
    write(root.parent / "anno", lists(test=[]))
    with pytest.raises(UserError, match="names no test sketches"):
        load(root)
    write(root.parent / "anno", lists(test=[["sketches/cat/2.png", 99]]))
    with pytest.raises(UserError, match="label 99, which is not in the training part"):
        load(root)


def test_no_file_is_named_twice(root: Path) -> None:
    leak = [*lists()["sketch"]["test"], ["sketches//bear (animal)/./0.png", 7]]  # trained on as well
    write(root.parent / "anno", lists(test=leak))
    with pytest.raises(UserError, match=r"more than once, first sketches/bear \(animal\)/0\.png"):
        load(root)
    content = lists()
    content["photo"]["test"].append(["photos/cat/0.png", 7])  # two labels for one photo
    write(root.parent / "anno", content)
    with pytest.raises(UserError, match=r"tiny_photo\.json names 1 files more than once"):
        load(root)


def test_paths_are_normalised(root: Path) -> None:
    content = lists()
    content["sketch"]["train"][0][0] = "./sketches//bear (animal)/0.png"
    write(root.parent / "anno", content)
    assert load(root).train_sketches[0] == (FIRST, 0)


def test_a_category_without_photos(root: Path) -> None:
    content = lists()
    content["photo"] = {
        part: [entry for entry in entries if entry[1] != 9] for part, entries in content["photo"].items()
    }
    write(root.parent / "anno", content)
    with pytest.raises(UserError, match="no training photo for label 9"):
        load(root)


def test_images_that_are_left_out(root: Path) -> None:
    write(root.parent / "anno", lists())
    whole = load(root)
    gone = ["photos/cat/1.png", FIRST]
    (root / FIRST).unlink()  # what is left out may be gone
    for data in (whole.without(gone), load_annotation(root.parent, root.parent / "anno", "tiny", gone)):
        assert data.excluded == tuple(gone) and data.digest() == whole.digest()
        assert data.train_sketches == [entry for entry in whole.train_sketches if entry[0] != FIRST]
        assert len(data.gallery) == len(data.train_photos) == 8 and data.test_sketches == whole.test_sketches
        more = data.without(["sketches/cat/2.png", "elsewhere.png"])
        assert more.excluded == (*gone, "sketches/cat/2.png") and more.digest() == whole.digest()
    assert whole.without([]) is whole
    with pytest.raises(UserError, match="no image of cat in test sketches"):
        whole.without(["sketches/cat/2.png", "sketches/cat/3.png"])


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", '{"train": []}', '{"train": {}, "test": []}', "[" * 100_000]
)
def test_a_file_of_another_form(tmp_path: Path, text: str) -> None:
    path = tmp_path / "list.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"list\.json"):
        read_list(path)


def test_missing_lists_and_folders_say_what_to_do(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--phase=prepare --dataset=tiny"):
        load(root)
    with pytest.raises(UserError, match="--data_path"):
        load_annotation(tmp_path, tmp_path, "absent")


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
json_values = scalars | st.lists(scalars | st.lists(scalars, max_size=3), max_size=4)


@given(st.dictionaries(st.sampled_from(["train", "test", "more"]), json_values))
def test_any_json_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: dict) -> None:
    path = tmp_path_factory.mktemp("lists") / "list.json"
    path.write_text(json.dumps(content))
    try:
        entries = read_list(path)
    except UserError as error:
        assert "list.json" in str(error)
    else:
        assert all(isinstance(name, str) and label >= 0 for part in entries.values() for name, label in part)


def test_photos_of_the_folder_for_a_zero_shot_list(root: Path) -> None:
    content = lists()["sketch"]
    unseen = max(LABELS.values())
    every = [*content["train"], *content["test"]]
    parts = {
        "train": [each for each in every if each[1] != unseen],
        "test": [each for each in every if each[1] == unseen],
    }
    write(root.parent / "anno", {"sketch": parts})
    data = load(root)
    assert data.zero_shot and len(data.train_photos) == 6 and len(data.gallery) == 3
    shutil.rmtree(root / "photos/cat")
    with pytest.raises(UserError, match=r"no folder in .*photos for 1 categories: cat"):
        load(root)
