"""Strong augmentation: what it does to lines and photos, and that a sample follows from its seed."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from datasets import transforms
from datasets.strong import bend, draw_coarsely, leave_gaps, vary_photo, widen
from utils.seeding import seeded_rng


def drawing(side: int = 128) -> Image.Image:
    image = Image.new("L", (side, side), 255)
    ImageDraw.Draw(image).ellipse((20, 30, side - 20, side - 30), outline=0, width=2)
    return image


def ink(image: Image.Image) -> float:
    """The share of the paper that is drawn on."""
    return float((np.asarray(image) < 128).mean())


def test_lines_get_wider_with_the_radius_and_stay_dark() -> None:
    thin = drawing()
    inks = [ink(thin), *(ink(widen(thin, radius)) for radius in (0.7, 1.5, 3))]
    assert inks == sorted(inks) and inks[-1] > 2 * inks[0]
    assert np.asarray(widen(thin, 1.5)).min() < 40


def test_bending_moves_lines_and_keeps_them() -> None:
    thin = drawing()
    with seeded_rng(0):
        bent = bend(thin, 0.035)
    assert bent.size == thin.size
    assert 0.6 * ink(thin) < ink(bent) < 1.5 * ink(thin)
    assert (np.abs(np.asarray(bent, float) - np.asarray(thin, float)) > 128).any()
    with seeded_rng(0):
        assert np.abs(np.asarray(bend(thin, 0.0), float) - np.asarray(thin, float)).max() == 0


def test_gaps_only_take_ink_away() -> None:
    thin = drawing()
    left = []
    for seed in range(20):
        with seeded_rng(seed):
            broken = leave_gaps(thin)
        assert (np.asarray(broken) >= np.asarray(thin)).all()
        left.append(ink(broken) / ink(thin))
    assert 0.5 < min(left) < 0.95 and 0.8 < sum(left) / len(left) < 1


def test_a_blank_sheet_stays_blank_and_any_shape_is_taken() -> None:
    for size in ((128, 128), (300, 40), (1, 7)):
        for seed in range(10):
            with seeded_rng(seed):
                found = draw_coarsely(Image.new("L", size, 255))
            assert found.size == size and (np.asarray(found) == 255).all()


def test_a_photo_is_shown_in_part_and_never_outside_of_itself() -> None:
    rows = torch.arange(64, dtype=torch.uint8)[:, None].expand(64, 64) + 100
    photo = torch.stack([rows, rows.T, torch.full((64, 64), 150, dtype=torch.uint8)])
    views = []
    for seed in range(40):
        with seeded_rng(seed):
            views.append(vary_photo(photo))
    assert all(view.shape == photo.shape and view.dtype == torch.uint8 for view in views)
    spans = [int(view[0].max()) - int(view[0].min()) for view in views]
    assert min(spans) < 50 and max(spans) > 60  # a part, and a stronger contrast
    mirrored = [float(view[1][:, 0].float().mean()) > float(view[1][:, -1].float().mean()) for view in views]
    assert 8 < sum(mirrored) < 32
    assert sum(bool((view[0] == view[2]).all()) for view in views) in range(1, 12)  # grey


@pytest.mark.parametrize("make", [transforms.sketch_train, transforms.photo_train])
def test_a_sample_follows_from_its_seed(make) -> None:
    values = np.random.default_rng(0).integers(0, 255, (80, 80, 3), dtype=np.uint8)
    image = drawing() if make is transforms.sketch_train else Image.fromarray(values)
    transform = make(64, augmentation="strong")
    views = []
    for seed in (1, 1, 2):
        with seeded_rng(seed):
            views.append(transform(image))
    assert torch.equal(views[0], views[1]) and not torch.equal(views[0], views[2])
    assert views[0].shape == (3, 64, 64) and 0 <= float(views[0].min()) <= float(views[0].max()) <= 1
