"""--phase=test on a tiny set: all settings from the checkpoint, any step, no stale features."""

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datasets.annotations import read_list
from datasets.images import read_image
from phases import test as test_phase
from phases.search import open_searcher
from retrieval import hashing
from run import results
from run.contact_sheet import SheetRow
from tests.conftest import SMALL_RUN
from utils import checkpoints


@pytest.fixture
def run(trained: Path) -> Path:
    return Path("logs/run")


def records(run: Path) -> list[dict]:
    return json.loads((run / "log/result.json").read_text())


def test_one_command_takes_everything_from_the_checkpoint(run: Path, command) -> None:
    first = records(run)[0]
    status, output, _ = command("test", "--save_path=run", "--hash_bits=4")
    assert status == 0 and "testing step 4" in output and "features loaded from" in output
    again = records(run)
    assert len(again) == 1
    assert again[0]["metrics"] == first["metrics"] and again[0]["hash"] == first["hash"]
    assert again[0]["options"]["network"] == "tiny"
    assert set(again[0]["definitions"]) > set(again[0]["metrics"])


def test_chance_is_given_beside_each_metric(run: Path, command) -> None:
    status, output, _ = command("test", "--save_path=run", "--hash_bits=4")
    assert status == 0
    (record,) = records(run)
    assert record["chance"].keys() == record["metrics"].keys()
    # three photos of nine are of a query's category
    expected = 2 / 8 + 6 / 8 * sum(1 / n for n in range(1, 10)) / 9
    assert record["chance"]["MAP"] == pytest.approx(100 * expected)
    assert record["chance"]["P@10"] == pytest.approx(30)  # of ten, one place is empty
    for name, value in record["metrics"].items():
        assert f"test {name}: {value:.3f} (chance {record['chance'][name]:.3f})\n" in output
    assert f"hash MAP: {record['hash']['4']['MAP']:.3f} (chance {100 * expected:.3f})\n" in output
    assert "chance" not in (run / "log/result.txt").read_text(), "its lines are the published ones"


@pytest.mark.parametrize(
    ("value", "chance", "verdict"),
    [
        (1.0, 1.04, "not above chance"),
        (1.04, 1.04, "not above chance"),
        (1.13, 1.04, "hardly above chance"),  # a first run of 300 steps
        (1.31, 1.04, None),
        (85.0, 80.0, None),
        (84.0, 80.0, "hardly above chance"),
        (100.0, 100.0, "not above chance"),
    ],
)
def test_warns_of_metrics_at_chance(caplog, value: float, chance: float, verdict: str | None) -> None:
    assert results.compare_with_chance(value, chance) == verdict
    results.warn_about_chance({"hash MAP, 32 bits": value}, chance)
    assert [verdict in record.getMessage() for record in caplog.records] == [True] * bool(verdict)


def test_any_step_and_distance(run: Path, command) -> None:
    for arguments in (["--pretrained_model=2"], ["--test_distance=angular"]):
        assert command("test", "--save_path=run", "--hash_bits=4", *arguments)[0] == 0
    found = [(each["step"], each["distance"]) for each in records(run)]
    assert found == [(2, "euclidean"), (4, "angular"), (4, "euclidean")]
    status, _, errors = command("test", "--save_path=run", "--pretrained_model=3")
    assert status == 2 and "no checkpoint for step 3" in errors and "available: 2, 4" in errors
    status, _, errors = command("test", "--save_path=nothing")
    assert status == 2 and f"there is no run {Path.cwd()}/logs/nothing; runs in logs: run; check" in errors


def test_a_missing_run_is_reported_with_the_existing_ones(run: Path, command) -> None:
    for name in ("ron/seed-0", "zebra", "run/published", "empty"):
        (run.parent / name / "model").mkdir(parents=True)
    for name in ("ron/seed-0/model/checkpoint-4.pt", "zebra/model/checkpoint-4.pt"):
        (run.parent / name).hardlink_to(run / "model/checkpoint-4.pt")
    (run / "published/model/model-net-4.cpkt").touch()
    found = "run, ron/seed-0, run/published, zebra"
    for phase in ("test", "report", "index", "export"):
        status, _, errors = command(phase, "--save_path=rum")
        assert status == 2 and errors.count("\n") == 1
        assert f"there is no run {Path.cwd()}/logs/rum; runs in logs: {found}; check --save_path" in errors
        assert not Path("logs/rum").exists()
        if phase == "report":
            assert "there is no run" in command("report", "--save_path=rum", "--table", "losses")[2]
            assert not Path("logs/rum").exists()
        else:
            errors = command(phase, "--save_path=empty")[2]
            assert f"no checkpoint in {Path.cwd()}/logs/empty/model; runs in logs: " in errors


def test_little_memory_changes_nothing(run: Path, command, monkeypatch) -> None:
    first = records(run)[0]["metrics"]
    assert command("test", "--save_path=run", "--hash_bits", "--eval_memory=1")[0] == 0
    assert records(run)[0]["metrics"] == first


def test_features_of_other_weights_or_lists_are_recomputed(run: Path, command) -> None:
    path = run / "model/checkpoint-4.pt"
    state = checkpoints.load(path)
    state["network"]["head.bias"] += 1
    checkpoints.save(path, state)
    before = np.load(run / "vec/photo-4.npy")
    status, output, _ = command("test", "--save_path=run", "--hash_bits")
    assert status == 0 and "are from other weights: recomputing them" in output
    assert np.allclose(np.load(run / "vec/photo-4.npy"), before + 1, atol=1e-4)
    Image.new("RGB", (9, 9)).save("datasets/data/tiny/photos/cat/0.png")
    status, output, _ = command("test", "--save_path=run", "--hash_bits")
    assert status == 0 and "are from other files: recomputing them" in output
    (run / "vec/photo-4.npy").write_bytes(b"torn")
    status, output, _ = command("test", "--save_path=run", "--hash_bits")
    assert status == 0 and "photo-4.npy is not an array (2, 9, 8) of float32): recomputing them" in output


def test_a_full_disk_is_reported_and_no_features_are_left(
    run: Path, command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (run / "vec").iterdir():
        path.unlink()
    (run / "vec/.photo-4.npy.1.tmp").write_bytes(b"of a process that was killed")

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    status, _, errors = command("test", "--save_path=run", "--hash_bits")
    assert status == 2 and "of features to logs/run/vec: No space left on device; make room" in errors
    assert list((run / "vec").iterdir()) == []


def test_other_lists_than_those_trained_with_are_refused(run: Path, command) -> None:
    """With another split, the test would use sketches of the training."""
    assert command("prepare", "--test_per_category=1", "--force")[0] == 0
    status, _, errors = command("test", "--save_path=run")
    assert status == 2 and "trained with other annotation lists" in errors


def test_seed_and_distance_are_the_runs_unless_given(prepared: Path, command, monkeypatch) -> None:
    monkeypatch.setattr(hashing, "FIT_STEPS", 100)
    assert command("train", *SMALL_RUN, "--seed=5", "--test_distance=angular")[0] == 0
    before = records(Path("logs/run"))
    assert command("test", "--save_path=run", "--hash_bits=4", "--margin=4")[0] == 0
    after = records(Path("logs/run"))
    assert [each["hash"] for each in after] == [each["hash"] for each in before]
    assert (after[0]["seed"], after[0]["distance"], after[0]["options"]["margin"]) == (5, "angular", 4.0)


def test_features_that_are_not_finite_are_reported(run: Path, command) -> None:
    path = run / "model/checkpoint-4.pt"
    state = checkpoints.load(path)
    state["network"]["head.bias"] += float("nan")
    checkpoints.save(path, state)
    status, _, errors = command("test", "--save_path=run")
    assert status == 2 and "not finite" in errors


def test_one_category_works_without_codes(tree: Path, command) -> None:
    for domain in ("sketches", "photos"):
        for category in ("cat", "hot-dog"):
            shutil.rmtree(tree / domain / category)
    assert command("prepare", "--test_per_category=1")[0] == 0
    status, output, errors = command("train", *SMALL_RUN)
    assert status == 0, errors
    assert "test MAP: 100.000" in output and "no hash codes" in output


@pytest.mark.parametrize(
    ("option", "stored"),
    [
        ("--network=alexnet", "--network=tiny"),
        ("--f_dim=9", "--f_dim=8"),
        ("--attention=se", "--attention=dase"),
        ("--loss_type=cosface", "--loss_type=mems"),
        ("--dataset=demo", "--dataset=tiny"),
        ("--image_size=128", "--image_size=64"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(run: Path, command, option: str, stored: str) -> None:
    status, _, errors = command("test", "--save_path=run", option)
    assert status == 2 and f"was made with {stored}" in errors and errors.count("\n") == 1


def test_damaged_checkpoints_are_refused(run: Path, command) -> None:
    path = run / "model/checkpoint-4.pt"
    state = checkpoints.load(path)
    del state["network"]["head.bias"]
    checkpoints.save(path, state)
    status, _, errors = command("test", "--save_path=run")
    assert status == 2 and "does not fit a TinyNetwork" in errors and "head.bias" in errors
    path.write_bytes(path.read_bytes()[:1000])
    status, _, errors = command("test", "--save_path=run")
    assert status == 2 and "checkpoint-4.pt" in errors and "cut off" in errors
    torch.save({"weights": torch.zeros(1)}, path)
    status, _, errors = command("test", "--save_path=run")
    assert status == 2 and "not a checkpoint of this program" in errors


def test_the_contact_sheet_shows_the_queries_and_the_photos_nearest_to_them(
    run: Path, command, monkeypatch
) -> None:
    drawn: list[SheetRow] = []
    real = test_phase.contact_sheet
    monkeypatch.setattr(
        test_phase, "contact_sheet", lambda rows, text: drawn.extend(rows) or real(rows, text)
    )
    assert command("test", "--save_path=run", "--hash_bits")[0] == 0
    lists = read_list(Path("anno/tiny_sketch.json"))["test"]
    root = Path("datasets/data/tiny")
    pixels = {np.asarray(read_image(root / name, "L")).tobytes(): Path(name) for name, _ in lists}
    names = [pixels[np.asarray(row.query.image).tobytes()] for row in drawn]
    assert [name.parent.name for name in names] == ["bear (animal)", "cat", "hot-dog"], "one of each category"
    assert [(row.query.name, row.query.category) for row in drawn] == [(n.name, n.parent.name) for n in names]
    searcher = open_searcher("run", anno_path="anno", num_workers=0, device="cpu")
    for name, row in zip(names, drawn, strict=True):
        hits = searcher.search(root / name, top=9)
        assert sorted((hit.file.name, hit.category) for hit in hits) == sorted(
            (cell.name, cell.category) for cell in row.results
        )
        assert hits[0].category == row.results[0].category


def test_a_learned_set_is_ranked_better_than_chance(prepared: Path, command, monkeypatch) -> None:
    """Twenty steps are enough for rectangles, circles and lines; by chance 3 of 9 photos are hits."""
    monkeypatch.setattr(hashing, "FIT_STEPS", 100)
    arguments = [a for a in SMALL_RUN if not a.startswith(("--num_steps", "--batch_size", "--annealing"))]
    options = ["--num_steps=60", "--batch_size=6", "--annealing_step=60", "--margin=1.5", "--lr=3e-4"]
    status, _, errors = command("train", *arguments, *options)
    assert status == 0, errors
    assert records(Path("logs/run"))[0]["metrics"]["MAP"] > 60


def test_result_lines_have_the_published_form(run: Path) -> None:
    lines = (run / "log/result.txt").read_text().splitlines()
    metrics = records(run)[0]
    assert lines[0] == f"step: 4 | test MAP: {metrics['metrics']['MAP']:.3f}"
    assert lines[-1] == f"step: 4 | code length: 4 | hash MAP: {metrics['hash']['4']['MAP']:.3f}"
    assert "training photos" in metrics["definitions"]["gallery"]
    assert "class centres alone" in results.HASH_DEFINITION


def test_hash_metrics_are_means_over_fits_with_several_seeds(run: Path, command, monkeypatch) -> None:
    monkeypatch.setattr(hashing, "FITS", 4)
    status, output, errors = command("test", "--save_path=run", "--hash_bits=4")
    assert status == 0, errors
    found = records(run)[0]["hash"]["4"]
    values = [each["MAP"] for each in found["fits"]]
    assert [each["seed"] for each in found["fits"]] == [0, 1, 2, 3] and len(set(values)) > 1
    assert found["MAP"] == pytest.approx(np.mean(values))
    assert found["std"] == pytest.approx(np.std(values, ddof=1))
    assert f"standard deviation {found['std']:.3f}; gradient published" in output


def test_a_test_by_the_other_hash_gradient(run: Path, command, monkeypatch) -> None:
    (before,) = records(run)
    monkeypatch.setattr(hashing, "FIT_STEPS", 300)
    fits = {}
    for gradient in ("published", "identity"):
        status, _, errors = command("test", "--save_path=run", "--hash_bits=8", f"--hash_gradient={gradient}")
        assert status == 0, errors
        (record,) = records(run)  # the newest replaces the one before
        assert record["hash_gradient"] == record["options"]["hash_gradient"] == gradient
        assert record["metrics"] == before["metrics"]
        fits[gradient] = record["hash"]["8"]["fits"]
    assert fits["published"] != fits["identity"]
    status, _, errors = command("test", "--save_path=run", "--hash_gradient=sign")
    assert status == 2 and "--hash_gradient" in errors


def test_all_definitions_of_map_at_200(run: Path, command) -> None:
    status, output, _ = command("test", "--save_path=run", "--hash_bits", "--all_definitions")
    assert status == 0
    found = records(run)[0]
    for name in ("hits", "positives", "200"):
        assert f"step: 4 | test mAP@200 / {name}: " in output
        assert f"mAP@200 / {name}" in found["definitions"]
    metrics = found["metrics"]  # 9 photos, 3 of them positive: all are among the first 200
    assert metrics["mAP@200"] == metrics["mAP@200 / hits"] == metrics["mAP@200 / positives"]
    assert metrics["mAP@200 / 200"] == pytest.approx(metrics["mAP@200"] * 3 / 200)


def test_without_mirror_images(run: Path, command) -> None:
    assert command("test", "--save_path=run", "--hash_bits", "--mirror=off")[0] == 0
    off, on = sorted(records(run), key=lambda each: each["mirror"])
    features = {domain: np.load(run / f"vec/{domain}-4.npy")[0] for domain in ("sketch", "photo")}
    nearest = ((features["sketch"][:, None] - features["photo"]) ** 2).sum(-1).argsort(1)
    lists = {domain: json.loads(Path(f"anno/tiny_{domain}.json").read_text())["test"] for domain in features}
    hits = [
        [lists["photo"][index][1] == label for index in row]
        for row, (_, label) in zip(nearest, lists["sketch"], strict=True)
    ]
    aps = [np.mean([sum(h[: i + 1]) / (i + 1) for i in range(9) if h[i]]) for h in hits]
    assert off["metrics"]["MAP"] == pytest.approx(100 * np.mean(aps))
    assert off["metrics"]["MAP"] != on["metrics"]["MAP"]


def test_zero_shot_from_lists_to_results(tree: Path, command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "FIT_STEPS", 10)
    assert command("prepare", "--protocol=zero-shot")[0] == 0
    status, _, errors = command("train", *SMALL_RUN)
    assert status == 0, errors
    found = records(Path("logs/run"))[0]
    assert found["counts"]["trained_categories"] == 2 and found["counts"]["categories"] == 3
    assert found["counts"]["gallery"] == 3 and found["counts"]["queries"] == 4
    assert "unseen categories" in found["definitions"]["gallery"]
    assert checkpoints.load(Path("logs/run/model/checkpoint-4.pt"))["loss"]["centers"].shape == (2, 8)
    assert {"MAP", "mAP@200", "P@100", "P@200"} <= set(found["metrics"])
    assert "centers" not in found["margin_condition"]
