"""The margin condition in the log, the JSON and the plot."""

import json
from pathlib import Path

import numpy as np
import pytest

from retrieval import hashing
from tests.conftest import SMALL_RUN
from tests.figures import lines, texts
from utils.tracking import read_scalars


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "FIT_STEPS", 10)


def condition() -> dict:
    return json.loads(Path("logs/run/log/result.json").read_text())[0]["margin_condition"]


def test_features_and_centres_are_measured(prepared: Path, command, figures) -> None:
    status, output, _ = command("train", *SMALL_RUN, "--margin=3")
    assert status == 0
    assert "m = 3 is below 2 + sqrt(3) = 3.732" in output and "max intra < min inter in" in output
    found = condition()
    assert found["margin"] == 3 and set(found["photos"]["max_intra"]) == {"bear (animal)", "cat", "hot-dog"}
    for name, distance in found["centers"]["nearest_other"].items():
        assert found["centers"]["max_intra"][name] == pytest.approx(2 * 3 / (9 - 1) * distance)
        assert found["centers"]["min_inter"][name] == pytest.approx(2 / 4 * distance)
    assert found["centers"]["share"] == 0
    photos = np.load("logs/run/vec/photo-4.npy")[0].astype(float)
    entries = json.loads(Path("anno/tiny_photo.json").read_text())["test"]
    own = [index for index, (path, _) in enumerate(entries) if "/cat/" in path]
    farthest = max(np.linalg.norm(photos[a] - photos[b]) for a in own for b in own)
    assert found["photos"]["max_intra"]["cat"] == pytest.approx(farthest)
    panel = figures["margin_condition"].axes[1]
    (dots,) = (line for line in panel.lines if line.get_marker() == "o")
    assert list(dots.get_xdata()) == list(found["photos"]["max_intra"].values())
    assert list(dots.get_ydata()) == list(found["photos"]["min_inter"].values())
    assert "run, step 4" in texts(figures["margin_condition"])
    steps = [row["step"] for row in read_scalars(Path("logs/run/log/scalars.csv"))]
    assert lines(figures["curves"].axes[2])["this run"][0] == steps and "run" in texts(figures["curves"])


def test_a_margin_that_is_large_enough(prepared: Path, command) -> None:
    status, output, _ = command("train", *SMALL_RUN, "--margin=3.74")
    assert status == 0 and "m = 3.74 reaches 2 + sqrt(3)" in output
    assert condition()["centers"]["share"] == 100
    assert 0 <= condition()["all"]["inside"] <= 100


def test_no_margin_bounds_nothing_and_is_still_json(prepared: Path, command) -> None:
    assert command("train", *SMALL_RUN, "--margin=1")[0] == 0
    assert set(condition()["centers"]["max_intra"].values()) == {None}


def test_other_losses_measure_only_features(prepared: Path, command) -> None:
    status, output, _ = command("train", *SMALL_RUN, "--loss_type=cosface")
    assert status == 0 and "the loss has no margin of MEMS" in output
    found = condition()
    assert (
        found["margin"] is None
        and "inside" not in found["all"]
        and set(found["centers"]) == {"nearest_other"}
    )


def test_it_can_be_left_out(prepared: Path, command) -> None:
    assert command("train", *SMALL_RUN, "--margin_condition=off")[0] == 0
    assert "margin_condition" not in json.loads(Path("logs/run/log/result.json").read_text())[0]
