"""Numbers that are not finite, or as few as can be: found and said, or worked with."""

import itertools
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datasets.loaders import ImageSet
from phases.train.monitor import REPORT
from phases.train.trainer import Trainer, total_norm
from retrieval import hashing
from retrieval.metrics import average_precision, evaluate
from retrieval.search import feature_rankings, find_nearest
from tests.conftest import SMALL_RUN, draw_tree
from tests.reliability.training import COMMON
from tests.victims import Zygote
from utils import checkpoint_files, checkpoints, tracking

RUN = Path("logs/run")
STEPS = ("--num_steps=8", "--model_save_step=4")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "FIT_STEPS", 100)


def overflow(trainer: Trainer, what: str) -> None:
    """Make the network's output overflow for real, or in the backward pass alone the gradient of its head."""
    if what == "loss":
        with torch.no_grad():
            trainer.network.head.weight.fill_(3e38)
    else:
        trainer.network.head.weight.register_hook(lambda gradient: gradient * 1e38 * 1e38)


def from_step(step: int, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Trainer.training_step

    def spoiled(self: Trainer, *batches: Any) -> torch.Tensor:
        if self.step == step - 1:
            overflow(self, what)
        return whole(self, *batches)

    monkeypatch.setattr(Trainer, "training_step", spoiled)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files of training images, as they are read."""
    paths: list[str] = []
    whole = ImageSet.__getitem__

    def noting(self: ImageSet, key: tuple[int, int]) -> Any:
        paths.append(self.entries[key[0]][0])
        return whole(self, key)

    monkeypatch.setattr(ImageSet, "__getitem__", noting)
    return paths


@pytest.mark.parametrize(("what", "log_step"), [("loss", 1), ("loss", 4), ("gradient", 4)])
def test_what_is_not_finite_stops_the_run_with_all_that_helps(
    prepared: Path, command, monkeypatch, loaded: list[str], what: str, log_step: int
) -> None:
    """Found at the next row of the log; the step, its batch and the last good loss are told all the same."""
    from_step(7, what, monkeypatch)
    status, _, errors = command("train", *SMALL_RUN, *STEPS, f"--log_step={log_step}")
    assert status == 2 and errors.count("error: ") == 1 and "Traceback" not in errors
    assert f"error: the {what} became " in errors and "at step 7, after a loss of " in errors
    assert (
        f"; the files of its batch are in {RUN}/log/{REPORT}, earlier checkpoints are kept. Train under"
        in errors
    )
    assert "a smaller --lr than 0.0001, or a longer --annealing_step, or a smaller --margin" in errors
    assert checkpoint_files.saved_steps(RUN / "model") == [4]
    report = json.loads((RUN / "log" / REPORT).read_text())
    first = 6 * 4  # without workers, images are read batch by batch
    assert report["step"] == 7 and report["sketches"] + report["photos"] == loaded[first : first + 4]
    assert f"a loss of {report['last_finite_loss']:.4g}; " in errors
    if log_step == 1:
        assert report["last_finite_loss"] == tracking.read_scalars(RUN / "log/scalars.csv")[-1]["loss"]


def test_the_checkpoint_before_is_good_to_go_on_from(prepared: Path, command, monkeypatch) -> None:
    assert command("train", *SMALL_RUN, *STEPS, "--save_path=whole")[0] == 0
    with monkeypatch.context() as patch:
        from_step(7, "loss", patch)
        assert command("train", *SMALL_RUN, *STEPS)[0] == 2
    assert command("train", *SMALL_RUN, *STEPS)[0] == 0
    one, two = (checkpoints.load(Path(f"logs/{name}/model/checkpoint-8.pt")) for name in ("run", "whole"))
    assert all(torch.equal(one["network"][name], value) for name, value in two["network"].items())


@pytest.mark.parametrize("tensor", ["network", "optimizer"])
def test_weights_that_are_not_finite_are_never_saved(
    prepared: Path, command, monkeypatch, tensor: str
) -> None:
    """Though loss and gradient were, as of the last step before the end."""
    whole = Trainer.training_step

    def spoiled(self: Trainer, *batches: Any) -> torch.Tensor:
        loss = whole(self, *batches)
        if self.step == 8 and tensor == "network":
            self.network.blocks[0].bn.running_var[3] = math.inf
        elif self.step == 8:
            next(iter(self.optimizer.state.values()))["exp_avg_sq"].fill_(math.nan)
        return loss

    monkeypatch.setattr(Trainer, "training_step", spoiled)
    status, _, errors = command("train", *SMALL_RUN, *STEPS)
    assert status == 2 and f"error: after step 8 not all weights are finite ({tensor}" in errors
    assert checkpoint_files.saved_steps(RUN / "model") == [4]


def test_a_norm_is_not_finite_if_a_number_is_not() -> None:
    numbers = [torch.full((3,), 2.0), torch.full((2, 2), 1.0)]
    assert total_norm(numbers) == 4
    for bad in (math.nan, math.inf, -math.inf):
        numbers[1][0, 1] = bad
        assert not total_norm(numbers).isfinite()


def test_features_that_overflow_float16_stop_the_run(prepared: Path, command, monkeypatch) -> None:
    """The loss is in float32, and no scale of gradients mends what is infinite before it."""
    from_step(7, "loss", monkeypatch)
    status, _, errors = command("train", *SMALL_RUN, *STEPS, "--amp=fp16", "--log_step=1")
    assert status == 2 and "error: the loss became nan at step 7" in errors
    assert "Train under another --save_path with --amp=bf16 or off" in errors


def scaled_by(scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Trainer.__init__

    def scaled(self: Trainer, *arguments: Any) -> None:
        whole(self, *arguments)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=scale)

    monkeypatch.setattr(Trainer, "__init__", scaled)


def test_steps_that_float16_leaves_out_are_counted(prepared: Path, command, monkeypatch) -> None:
    scaled_by(2.0**26, monkeypatch)
    steps = ["--num_steps=10", "--model_save_step=10", "--log_step=5", "--amp=fp16"]
    status, output, errors = command("train", *SMALL_RUN, *steps)
    assert status == 0, errors
    line = next(line for line in output.splitlines() if line.startswith("float16: "))
    skipped = int(line.split()[1])
    assert 0 < skipped <= 5
    assert f"{skipped} of the 5 steps up to 5 were skipped" in line
    assert line.endswith(f"the gradient scale is now {2.0 ** (26 - skipped):g}")
    adam = checkpoints.load(RUN / "model/checkpoint-10.pt")["optimizer"]["state"][0]["step"]
    assert adam == 10 - sum(int(each.split()[1]) for each in output.splitlines() if "float16: " in each)


def test_a_scale_that_collapses_stops_the_run(prepared: Path, command, monkeypatch) -> None:
    from_step(1, "gradient", monkeypatch)
    scaled_by(2.0**-8, monkeypatch)
    steps = ["--num_steps=9", "--model_save_step=9", "--log_step=2", "--amp=fp16"]
    status, output, errors = command("train", *SMALL_RUN, *steps)
    assert "float16: 2 of the 2 steps up to 2 were skipped" in output
    assert (
        status == 2 and "error: gradients overflow float16 at every scale: 2 of the 2 steps up to 4" in errors
    )
    assert "with --amp=bf16 or off" in errors and not checkpoint_files.saved_steps(RUN / "model")


SPOILED = """
import os, sys
import main
from phases.train.trainer import Trainer
step = Trainer.training_step
def spoiled(self, *batches):
    loss = step(self, *batches)
    return loss * float("nan") if self.step == 3 and os.environ["RANK"] == "1" else loss
Trainer.training_step = spoiled
sys.exit(main.main(sys.argv[1:]))
"""


def test_all_processes_end_where_one_diverges(prepared: Path, tmp_path: Path, zygote: Zygote) -> None:
    options = [*COMMON, *SMALL_RUN, "--num_workers=0", *STEPS, "--log_step=4"]
    ended = zygote.run(tmp_path, "--phase=train", *options, program=SPOILED, processes=2)
    assert ended.status != 0
    assert "at step 3, after a loss of" in ended.text() and not checkpoint_files.saved_steps(RUN / "model")
    report = json.loads((RUN / "log" / REPORT).read_text())
    assert len(report["sketches"]) == len(report["photos"]) == 4  # of both


@pytest.mark.parametrize("mirrors", [1, 2])
def test_equal_directions_are_at_an_angle_of_0(mirrors: int) -> None:
    rng = np.random.default_rng(0)
    gallery = rng.standard_normal((50, 16, mirrors)).astype(np.float32)
    query = gallery * rng.uniform(0.1, 1000, (50, 1, 1)).astype(np.float32)
    positions, distances = find_nearest(query, gallery, "angular", 1, memory=1 << 20)
    assert positions[:, 0].tolist() == list(range(50))
    assert np.isfinite(distances).all() and (distances >= 0).all() and (distances < 1e-9).all()
    labels = np.arange(50)
    found = evaluate(feature_rankings(query, gallery, labels, labels, "angular", memory=1 << 20), labels)
    assert found.metrics["MAP"] == 100


@pytest.mark.parametrize("kind", ["euclidean", "angular"])
def test_equal_distances_count_as_the_mean_over_all_orders(kind: str) -> None:
    """Of the average precision of each order, one by one."""
    positive = np.array([True, False, True, False, False])
    orders = itertools.permutations(positive)
    expected = np.mean([average_precision(np.arange(5.0), np.array(order)) for order in orders])
    assert average_precision(np.zeros(5), positive) == pytest.approx(expected, abs=1e-12)
    same = np.ones((5, 4, 2), dtype=np.float32)
    rankings = feature_rankings(same[:1], same, np.ones(1), positive.astype(float), kind, memory=1 << 20)
    assert evaluate(rankings, np.ones(1)).ap[0] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("distance", ["euclidean", "angular"])
def test_one_category_with_one_photo_and_one_sketch_of_each_kind(
    tmp_path: Path, command, monkeypatch, distance: str
) -> None:
    """From lists to figures and a search."""
    monkeypatch.chdir(tmp_path)
    tree = draw_tree(tmp_path / "datasets/data/tiny", sketches=2, photos=1)
    for domain in ("sketches", "photos"):
        for category in ("cat", "hot-dog"):
            shutil.rmtree(tree / domain / category)
    assert command("prepare", "--test_per_category=1")[0] == 0
    arguments = [*SMALL_RUN, "--batch_size=1", f"--test_distance={distance}"]
    status, output, errors = command("train", *arguments)
    assert status == 0, errors
    assert "step: 4 | test MAP: 100.000" in output and "P@10: 10.000" in output
    query = str(tree / "sketches/bear (animal)/0.png")
    status, output, errors = command(
        "search", "--save_path=run", f"--query={query}", f"--test_distance={distance}"
    )
    assert status == 0, errors
    assert "photos/bear (animal)/0.png" in output


def test_a_sketch_without_a_photo_of_its_category_is_left_out_and_counted() -> None:
    rng = np.random.default_rng(0)
    query, gallery = (rng.standard_normal((n, 8, 2)).astype(np.float32) for n in (3, 5))
    labels, photos = np.array([0, 9, 1]), np.array([0, 0, 1, 1, 1])
    found, without = (
        evaluate(
            feature_rankings(query[k], gallery, labels[k], photos, "euclidean", memory=1 << 20), labels[k]
        )
        for k in (slice(None), [0, 2])
    )
    assert found.without_positives == 1 and found.queries == 2 and found.metrics == without.metrics
    assert math.isnan(found.ap[1]) and 9 not in found.per_category
