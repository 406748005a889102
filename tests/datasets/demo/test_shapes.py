"""The demo set: reproducible to the byte, never an outline twice, no category told by colour or ink."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.demo import shapes
from datasets.demo.shapes import CATEGORIES, draw_demo, outline, photo, sketch

SIZE = 48


def _files(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*.*"))}


def _draw(root: Path, **options: int) -> dict[str, bytes]:
    draw_demo(root, **{"sketches": 2, "photos": 2, "image_size": SIZE, **options})
    return _files(root)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return _draw(tmp_path_factory.mktemp("demo") / "demo")


def test_categories_are_sorted_unique_and_enough() -> None:
    assert list(CATEGORIES) == sorted(set(CATEGORIES))
    assert len(CATEGORIES) >= 12


def test_layout(demo: dict[str, bytes]) -> None:
    expected = {f"photos/{name}/{number:03d}.jpg" for name in CATEGORIES for number in range(2)}
    expected |= {f"sketches/{name}/{number:03d}.png" for name in CATEGORIES for number in range(2)}
    assert set(demo) == expected


def test_written_files_have_the_stated_mode_and_size(tmp_path: Path) -> None:
    _draw(tmp_path / "demo", sketches=1, photos=1)
    with Image.open(tmp_path / "demo/sketches/fish/000.png") as drawn:
        assert (drawn.mode, drawn.size) == ("L", (SIZE, SIZE))
    with Image.open(tmp_path / "demo/photos/fish/000.jpg") as taken:
        assert (taken.mode, taken.size) == ("RGB", (SIZE, SIZE))


def test_same_seed_gives_the_same_bytes(tmp_path: Path, demo: dict[str, bytes]) -> None:
    assert _draw(tmp_path / "again") == demo


def test_other_seed_gives_other_pictures(tmp_path: Path, demo: dict[str, bytes]) -> None:
    other = _draw(tmp_path / "other", seed=1)
    assert other.keys() == demo.keys()
    assert not [name for name in demo if demo[name] == other[name]]


def test_a_smaller_set_is_a_subset(tmp_path: Path, demo: dict[str, bytes]) -> None:
    fewer = _draw(tmp_path / "fewer", sketches=1, photos=1)
    assert fewer.items() < demo.items()


def test_no_two_files_are_alike(demo: dict[str, bytes]) -> None:
    assert len(set(demo.values())) == len(demo)


@pytest.mark.parametrize("category", CATEGORIES)
def test_no_two_outlines_are_alike(category: str) -> None:
    instances = [
        np.concatenate([part.points[::3] for part in outline(category, np.random.default_rng(seed))])
        for seed in range(10)
    ]
    for one, other in itertools.combinations(instances, 2):
        # Chamfer distance, so that neither the order nor the number of the points matters.
        gaps = np.linalg.norm(one[:, None] - other[None], axis=-1)
        assert (gaps.min(axis=0).mean() + gaps.min(axis=1).mean()) / 2 > 0.005


@pytest.mark.parametrize("category", CATEGORIES)
def test_an_outline_fills_most_of_the_picture(category: str) -> None:
    for seed in range(10):
        points = np.concatenate([part.points for part in outline(category, np.random.default_rng(seed))])
        assert points.min() >= 0 and points.max() <= 1
        assert 0.7 < np.ptp(points, axis=0).max() < 0.92


@pytest.mark.parametrize("category", CATEGORIES)
def test_sketches_are_thin_dark_lines_on_white(category: str) -> None:
    for seed in range(4):
        drawn = sketch(category, np.random.default_rng(seed), SIZE)
        assert (drawn.mode, drawn.size) == ("L", (SIZE, SIZE))
        pixels = np.asarray(drawn)
        assert (pixels == 255).mean() > 0.55  # paper
        assert (pixels < 128).mean() > 0.01  # ink
        assert pixels.min() < 110


@pytest.mark.parametrize("category", CATEGORIES)
def test_photos_have_colour_and_no_plain_background(category: str) -> None:
    for seed in range(2):
        taken = photo(category, np.random.default_rng(seed), SIZE)
        assert (taken.mode, taken.size) == ("RGB", (SIZE, SIZE))
        pixels = np.asarray(taken, dtype=np.float64)
        border = np.concatenate([pixels[:2].reshape(-1, 3), pixels[-2:].reshape(-1, 3)])
        assert (border.std(axis=0) > 2).all()
        assert len(np.unique(border, axis=0)) > 20


def _separation(features: np.ndarray) -> float:
    """Spread of the category means over the spread within categories; (C, N, D) -> the largest of D ratios.

    Features that know nothing of the category give about 1 / sqrt(N).
    """
    return float((features.mean(axis=1).std(axis=0) / features.std(axis=1).mean(axis=0)).max())


def test_colour_does_not_give_the_category_away() -> None:
    number = 16
    means = np.array(
        [
            [
                np.asarray(photo(category, np.random.default_rng([7, kind, i]), 32)).mean((0, 1))
                for i in range(number)
            ]
            for kind, category in enumerate(CATEGORIES)
        ]
    )
    assert _separation(means) < 2 / np.sqrt(number)


def test_the_amount_of_ink_does_not_give_the_category_away() -> None:
    number = 12
    ink = np.array(
        [
            [
                [255 - np.asarray(sketch(category, np.random.default_rng([8, kind, i]), 32)).mean()]
                for i in range(number)
            ]
            for kind, category in enumerate(CATEGORIES)
        ]
    )
    # Nearest category mean, judged on the very samples that made it: far from all right even so.
    distance = np.abs(ink - ink.mean(axis=1)[None, :, 0])  # (C, N, C)
    assert (distance.argmin(axis=-1) == np.arange(len(CATEGORIES))[:, None]).mean() < 0.4


def test_pictures_depend_on_nothing_but_the_generator() -> None:
    for draw in (sketch, photo):
        first = draw("car", np.random.default_rng(3), SIZE)
        draw("house", np.random.default_rng(4), SIZE)
        assert draw("car", np.random.default_rng(3), SIZE).tobytes() == first.tobytes()


def test_an_unknown_category_is_named_with_the_known_ones() -> None:
    with pytest.raises(
        ValueError, match=r"no demo category 'unicorn'; available: bottle, butterfly, .*umbrella"
    ):
        sketch("unicorn", np.random.default_rng(0), SIZE)


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    root = tmp_path / "demo"
    root.mkdir()
    (root / "mine.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="remove it or choose another folder"):
        draw_demo(root)
    assert _files(tmp_path) == {"demo/mine.txt": b"keep"}


@pytest.mark.parametrize("wrong", [{"seed": -1}, {"sketches": 0}, {"photos": 0}, {"image_size": 16}])
def test_impossible_numbers_are_refused_before_anything_is_written(
    tmp_path: Path, wrong: dict[str, int]
) -> None:
    with pytest.raises(ValueError, match="the demo needs"):
        draw_demo(tmp_path / "new" / "demo", **wrong)
    assert not list(tmp_path.iterdir())


def test_an_interrupted_call_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> Image.Image:
        raise KeyboardInterrupt

    monkeypatch.setattr(shapes, "photo", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _draw(tmp_path / "demo")
    assert not list(tmp_path.iterdir())
