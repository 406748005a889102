"""--cache_images changes nothing but the time it takes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from retrieval import hashing
from tests.conftest import SMALL_RUN
from utils import checkpoint_files

MADE = Path("datasets/cache")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "FIT_STEPS", 100)


def outcome(folder: Path) -> tuple[dict, list[np.ndarray], dict]:
    """Weights, features and numbers of a run."""
    state = torch.load(checkpoint_files.checkpoint_path(folder / "model", 4), weights_only=True)
    features = [np.load(path) for path in sorted((folder / "vec").glob("*.npy"))]
    return state["network"], features, json.loads((folder / "log/result.json").read_text())[0]["metrics"]


@pytest.mark.parametrize("arguments", [[], ["--photo_channels=bgr", "--normalize", "--num_workers=1"]])
def test_training_and_test_are_the_same_with_kept_images(
    prepared: Path, command, arguments: list[str]
) -> None:
    Image.new("L", (90, 25), 200).save(prepared / "sketches/cat/0.png")  # sizes differ
    outcomes = []
    for name, cached in (("plain", []), ("kept", ["--cache_images"])):
        status, output, errors = command("train", *SMALL_RUN, f"--save_path={name}", *arguments, *cached)
        assert status == 0, errors
        for kind in ("photos", "sketches"):
            assert (f"reading {kind} from the cache" in output) == bool(cached)
        outcomes.append(outcome(Path("logs") / name))
    (weights, features, metrics), (kept_weights, kept_features, kept_metrics) = outcomes
    assert all(torch.equal(weights[name], kept_weights[name]) for name in weights)
    assert len(features) == len(kept_features) == 2
    assert all(np.array_equal(*pair) for pair in zip(features, kept_features, strict=True))
    assert metrics == kept_metrics
    assert len(list(MADE.glob("tiny-photos-64-*.npy"))) == len(list(MADE.glob("tiny-sketches-*.npy"))) == 1
    assert len(list(MADE.glob("*.npy"))) == 2


def test_one_file_of_a_domain_serves_training_and_a_test_of_its_own(prepared: Path, command) -> None:
    command("train", *SMALL_RUN, "--cache_images")
    made = {path: path.stat().st_ino for path in MADE.glob("*.npy")}
    assert len(made) == 2
    for path in Path("logs/run/vec").iterdir():
        path.unlink()
    status, output, errors = command("test", "--save_path=run", "--hash_bits=4", "--cache_images")
    assert status == 0, errors
    assert all(f"from the cache {file.resolve()}" in output for file in made)
    assert {path: path.stat().st_ino for path in MADE.glob("*.npy")} == made


def test_a_full_disk_stops_before_the_first_step(
    prepared: Path, command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.image_cache.SPARE_BYTES", 2**60)
    status, _, errors = command("train", *SMALL_RUN, "--cache_images")
    assert status == 2
    assert "--cache_images needs" in errors and "drop the option" in errors
    assert "12 sketches and 9 photos of 64 px" in errors
    assert not MADE.exists() and not Path("logs").exists()


def test_phases_that_load_no_images_refuse_it(prepared: Path, command) -> None:
    status, _, errors = command("prepare", "--force", "--cache_images")
    assert status == 2
    assert "--cache_images has no meaning for --phase=prepare" in errors
