"""By default the photos of TU-Berlin, and only those, are fed in BGR, in training and in test."""

from pathlib import Path

import pytest
import torch
from PIL import Image

import main
from datasets.annotations import load_annotation
from phases.train.trainer import Trainer
from run.config import config_from_options, resolve_training
from run.features import embed_test_set as features_of  # a name that pytest would take for a test
from tests.conftest import SMALL_RUN


class Means(torch.nn.Module):
    """Three features: the mean of each channel."""

    def forward(self, images: torch.Tensor, domain: torch.Tensor) -> torch.Tensor:
        return images.mean(dim=(2, 3))


@pytest.mark.parametrize(
    ("dataset", "given", "expected"),
    [
        ("TUBerlin", [], [0, 0, 1]),
        ("sketchy", [], [1, 0, 0]),
        ("TUBerlin", ["--photo_channels=rgb"], [1, 0, 0]),
        ("sketchy", ["--photo_channels=bgr"], [0, 0, 1]),
    ],
)
def test_red_photos(tree: Path, command, dataset: str, given: list[str], expected: list[int]) -> None:
    tree.rename(tree.parent / dataset)
    for path in (tree.parent / dataset / "photos").rglob("*.png"):
        Image.new("RGB", (20, 20), "red").save(path)
    assert command("prepare", f"--dataset={dataset}", "--test_per_category=1")[0] == 0
    options = main.parse(
        ["--phase=train", f"--dataset={dataset}", "--anno_path=anno", "--num_workers=0", *SMALL_RUN, *given]
    )
    config = resolve_training(config_from_options(options))
    data = load_annotation(config.data.data_path, config.data.anno_path, dataset)
    sketches, photos = next(Trainer(config, data).batches())
    assert photos[0].mean(dim=(2, 3)).tolist() == [expected] * 2
    assert torch.equal(sketches[0][:, 0], sketches[0][:, 2])
    _, gallery = features_of(Means(), data, config.with_values(f_dim=3), step=0, device=torch.device("cpu"))
    assert gallery.values[..., 0].tolist() == [expected] * 9
