"""Answers of the page, without the page."""

import errno
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from phases.search.searcher import open_searcher
from phases.serve.answers import CODES, FEATURES, Answers, choose_examples
from tests.conftest import CATEGORIES
from tests.phases.search.test_gallery import COMMON

CAT = Path("datasets/data/tiny/sketches/cat/3.png")


def test_a_folder_without_categories_and_a_checkpoint_without_codes(trained: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    for index in range(3):
        Image.new("RGB", (600, 300), ("red", "green", "blue")[index]).save(mine / f"{index}.jpg")
    searcher = open_searcher("run", mine, hash_bits=[], **COMMON)
    answers = Answers(searcher, tmp_path, local=True)
    assert list(answers.indices) == [FEATURES] and choose_examples(searcher) == []
    (mine / "0.jpg").unlink()  # after the gallery was read
    answer = answers.search_sketch(CAT, CODES, 3)
    assert {photo.title for photo in answer.photos} == {"0.jpg", "1.jpg", "2.jpg"}
    sizes = set()
    for photo in answer.photos:
        with Image.open(photo.copy) as image:
            sizes.add(image.size)
    assert sizes == {(256, 128), (256, 256)}  # grey stands for the one that is gone


def test_searches_at_the_same_time_do_not_disturb_one_another(trained: Path, tmp_path: Path) -> None:
    searcher = open_searcher("run", hash_bits=[4], **COMMON)
    for turn in range(5):
        folder = tmp_path / str(turn)
        folder.mkdir()
        answers = Answers(searcher, folder, local=True)
        with ThreadPoolExecutor(8) as pool:
            photos = list(pool.map(lambda _, to=answers: to.search_sketch(CAT, FEATURES, 9).photos, range(8)))
        assert photos == 8 * photos[:1]
        assert sorted(map(str, folder.iterdir())) == sorted(str(photo.copy) for photo in photos[0])


def test_examples_are_chosen_by_the_seed(trained: Path) -> None:
    examples = [choose_examples(open_searcher("run", seed=seed, **COMMON)) for seed in (0, 0, 1, 2, 3)]
    assert examples[0] == examples[1] and any(other != examples[0] for other in examples)
    assert [example.category for example in examples[0]] == list(CATEGORIES)
    assert all(example.path.is_file() for example in examples[0])


def test_a_full_disk_is_reported_on_the_page(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    answers = Answers(open_searcher("run", hash_bits=[], **COMMON), tmp_path, local=True)
    answer = answers.search_sketch(CAT, FEATURES, 3)
    assert not answer.photos and "No space left on device" in answer.message
