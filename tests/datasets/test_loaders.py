"""Batches: endless, seeded, resumable, and the same with any number of workers."""

import os
import signal
from itertools import islice
from pathlib import Path

import pytest
import torch

from datasets import PHOTO, SKETCH, transforms
from datasets.images import read_image
from datasets.loaders import ImageSet, ShuffledBatches, ordered_batches, training_batches
from tests.conftest import draw_tree
from tests.victims import Zygote
from utils.errors import UserError


@pytest.fixture(scope="module")
def sketches(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    root = draw_tree(tmp_path_factory.mktemp("data") / "tiny")
    entries = [(f"sketches/cat/{i}.png", i) for i in range(4)] + [("sketches/hot-dog/0.png", 4)]
    return ImageSet(root, entries, SKETCH, transforms.sketch_train(16), seed=5)


def take(images: ImageSet, count: int, **options: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(islice(training_batches(images, 2, **{"workers": 0, **options}), count))


def same(left: list, right: list) -> bool:
    return all(torch.equal(a, b) for x, y in zip(left, right, strict=True) for a, b in zip(x, y, strict=True))


def test_an_epoch_takes_every_image_at_most_once_and_drops_the_rest() -> None:
    batches = list(islice(ShuffledBatches(5, 2, seed=0), 60))
    orders = set()
    for epoch in range(30):
        pair = batches[2 * epoch : 2 * epoch + 2]
        assert {e for batch in pair for _, e in batch} == {epoch}
        taken = [index for batch in pair for index, _ in batch]
        assert len(set(taken)) == 4
        orders.add(tuple(taken))
    assert len(orders) > 20
    assert {index for batch in batches for index, _ in batch} == set(range(5))


def test_starting_later_skips_what_came_before() -> None:
    whole = list(islice(ShuffledBatches(5, 2, seed=0), 9))
    for start in range(9):
        assert list(islice(ShuffledBatches(5, 2, seed=0, start=start), 9 - start)) == whole[start:]
    assert list(islice(ShuffledBatches(5, 2, seed=1), 9)) != whole


def test_samples_repeat_by_seed_and_differ_between_epochs(sketches: ImageSet) -> None:
    assert torch.equal(sketches[0, 3][0], sketches[0, 3][0])
    assert not torch.equal(sketches[0, 3][0], sketches[0, 4][0])


def test_the_global_generator_is_left_alone(sketches: ImageSet) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    sketches[0, 0]
    assert torch.equal(torch.rand(3), expected)


def test_workers_and_a_later_start_change_nothing(sketches: ImageSet) -> None:
    plain = take(sketches, 5)
    assert same(take(sketches, 5, workers=2), plain)
    assert same(take(sketches, 2, start=3), plain[3:])


def test_ordered_batches_hold_all_in_order(sketches: ImageSet) -> None:
    images = ImageSet(sketches.root, sketches.entries, PHOTO, transforms.photo_test(16))
    batches = list(ordered_batches(images, 2, workers=0))
    assert [len(labels) for _, labels in batches] == [2, 2, 1]
    assert torch.cat([labels for _, labels in batches]).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_hold_what_the_transform_makes_of_each_image(sketches: ImageSet, workers: int) -> None:
    make = (
        transforms.sketch_test(16, normalize=transforms.IMAGENET),
        transforms.photo_test(16, "bgr", normalize=transforms.IMAGENET),
    )
    for domain, transform in enumerate(make):
        images = ImageSet(sketches.root, sketches.entries, domain, transform)
        assert images[0, 0][0].dtype == torch.uint8  # between processes
        found = torch.cat([pixels for pixels, _ in ordered_batches(images, 2, workers=workers)])
        assert found.dtype == torch.float32 and found.shape == (5, 3, 16, 16)
        for image, (path, _) in zip(found, sketches.entries, strict=True):
            assert torch.equal(image, transform(read_image(sketches.root / path, ("L", "RGB")[domain])))


HOLDING_WORKERS = """
import sys, time
from pathlib import Path
from datasets import SKETCH, transforms
from datasets.images import read_image
from datasets.loaders import ImageSet, training_batches
images = ImageSet(Path(sys.argv[1]), [("0.png", 0)] * 4, SKETCH, transforms.sketch_train(32))
batches = training_batches(images, 2, workers=2)
next(batches)
print("working", flush=True)
time.sleep(300)
"""


def test_workers_end_when_their_parent_is_killed(sketches: ImageSet, tmp_path: Path, zygote: Zygote) -> None:
    output = tmp_path / "output"
    os.mkfifo(output)
    folder = sketches.root / "sketches/cat"
    parent = zygote.start(tmp_path, str(folder), output=output, program=HOLDING_WORKERS)
    with output.open() as pipe:
        assert pipe.readline() == "working\n"
        parent.kill()
        # the workers hold the other end of this pipe: it ends with the last of them (they look every 5 s)
        pipe.read()
    assert parent.wait() == -signal.SIGKILL


def test_too_few_images_for_a_batch() -> None:
    with pytest.raises(UserError, match="--batch_size 6 is more than the 5"):
        ShuffledBatches(5, 6, seed=0)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_is_named_and_raised_in_the_main_process(
    sketches: ImageSet, tmp_path: Path, workers: int
) -> None:
    (tmp_path / "torn.png").write_bytes(b"\x89PNG")
    images = ImageSet(tmp_path, [("torn.png", 0)] * 2, SKETCH, transforms.sketch_test(16))
    for batches in (
        training_batches(images, 2, workers=workers),
        ordered_batches(images, 2, workers=workers),
    ):
        with pytest.raises(UserError, match=r"torn\.png"):
            next(batches)


def test_processes_share_every_batch_without_repeats() -> None:
    """Two processes of batch 2 see, batch by batch, what one of batch 4 sees."""
    joint = ShuffledBatches(10, 4, seed=3)
    shares = [ShuffledBatches(10, 2, seed=3, shard=(number, 2)) for number in (0, 1)]
    for whole, left, right in zip(islice(joint, 7), *shares, strict=False):
        assert left + right == whole
    with pytest.raises(UserError, match="in each of 3 processes is more than the 10"):
        ShuffledBatches(10, 4, seed=3, shard=(0, 3))
