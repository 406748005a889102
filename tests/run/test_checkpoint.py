"""Checkpoints of the published program, by one command and with nothing else said (docs/method.md, Files)."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets import SKETCH, transforms
from datasets.images import read_image
from models import build_network
from run.checkpoint import guess_dataset
from run.config import Config

SMALL = ("--image_size=32", "--hash_bits=4")
STEP = 20_000


def write_pair(
    folder: Path, network: torch.nn.Module, *, prefix: str = "", classes: int = 3, f_dim: int = 8
) -> torch.Tensor:
    """A pair as the published program leaves it, its dangling links too; returns the centres."""
    (folder / "model").mkdir(parents=True)
    state = {prefix + name: value for name, value in network.state_dict().items()}
    torch.save(state, folder / f"model/model-net-{STEP}.cpkt")
    centers = torch.nn.functional.normalize(torch.randn(classes, f_dim))
    torch.save({prefix + "centers": centers}, folder / f"model/model-mems-{STEP}.cpkt")
    for what in ("net", "mems"):
        (folder / f"model/model-{what}-latest.cpkt").symlink_to(f"/nowhere/model-{what}-{STEP}.cpkt")
    return centers


def small_network(name: str = "alexnet", **options) -> torch.nn.Module:
    return build_network(name, **{"attention": "dase", "f_dim": 8, **options}).eval()


def record(run: str = "pub") -> dict:
    return json.loads(Path(f"logs/{run}/log/result.json").read_text())[0]


def brute_force_map(queries: np.ndarray, gallery: np.ndarray, names: list[list[str]]) -> float:
    """MAP as docs/method.md defines it, one pair and one rank at a time."""
    scores = []
    for query, category in zip(queries, names[0], strict=True):
        distances = [
            min(float(((query[:, i] - photo[:, j]) ** 2).sum()) for i in (0, 1) for j in (0, 1))
            for photo in gallery
        ]
        hits, precisions = 0, []
        for rank, index in enumerate(np.argsort(distances), start=1):
            if names[1][index] == category:
                hits += 1
                precisions.append(hits / rank)
        scores.append(sum(precisions) / len(precisions))
    return 100 * float(np.mean(scores))


@pytest.mark.parametrize(("name", "prefix"), [("alexnet", "module."), ("resnext101", "")])
def test_a_pair_gives_its_features_and_their_map(
    prepared: Path, command, fill, name: str, prefix: str
) -> None:
    network = fill(build_network(name, attention="dase", f_dim=8)).eval()
    write_pair(Path("logs/pub"), network, prefix=prefix)
    status, output, errors = command("test", "--save_path=pub", f"--pretrained_model={STEP}", *SMALL)
    assert status == 0, errors
    assert (
        f"published checkpoint logs/pub/model/model-net-{STEP}.cpkt: {name} (dase, reduction 16, 8" in output
    )
    entries = json.loads(Path("anno/tiny_sketch.json").read_text())["test"]
    images = torch.stack(
        [transforms.sketch_test(32)(read_image(prepared / path, "L")) for path, _ in entries]
    )
    with torch.inference_mode():
        bits = torch.full((len(images),), float(SKETCH))
        expected = torch.stack([network(view, bits) for view in (images, images.flip(-1))], dim=-1)
    found = {
        domain: np.load(f"logs/pub/vec/{domain}-{STEP}.npy").transpose(1, 2, 0)
        for domain in ("sketch", "photo")
    }
    assert np.allclose(found["sketch"], expected.numpy(), rtol=1e-4, atol=1e-5)
    gallery = json.loads(Path("anno/tiny_photo.json").read_text())["test"]
    names = [[Path(path).parts[1] for path, _ in part] for part in (entries, gallery)]
    exact = brute_force_map(found["sketch"].astype(float), found["photo"].astype(float), names)
    assert record()["metrics"]["MAP"] == pytest.approx(exact, abs=1e-6)
    assert set(record()["hash"]) == {"4"} and record()["step"] == STEP


def test_the_newest_pair_is_found_beside_dangling_links(prepared: Path, command) -> None:
    write_pair(Path("logs/pub"), small_network())
    status, output, _ = command("test", "--save_path=pub", *SMALL)
    assert status == 0 and f"testing step {STEP}" in output


def test_without_its_loss_file_only_the_codes_are_left_out(prepared: Path, command) -> None:
    write_pair(Path("logs/pub"), small_network())
    Path(f"logs/pub/model/model-mems-{STEP}.cpkt").unlink()
    status, output, _ = command("test", "--save_path=pub", *SMALL)
    assert status == 0 and "no class centres, so no hash codes" in output
    assert record()["hash"] == {} and record()["metrics"]["MAP"] > 0


def test_the_published_alexnet_has_plain_modules_with_a_reduction_of_one(prepared: Path, command) -> None:
    network = small_network(attention="se", reduction=1)
    assert network.state_dict()["dase1.fc1.weight"].shape == (64, 64, 1, 1)
    write_pair(Path("logs/pub"), network)
    status, output, errors = command("test", "--save_path=pub", *SMALL)
    assert status == 0, errors
    assert "alexnet (se, reduction 1, 8 features)" in output


def test_several_losses_must_be_told_apart(prepared: Path, command) -> None:
    write_pair(Path("logs/pub"), small_network())
    torch.save({"centers": torch.randn(3, 8)}, f"logs/pub/model/model-lmcl-{STEP}.cpkt")
    status, _, errors = command("test", "--save_path=pub", *SMALL)
    assert status == 2 and "several losses" in errors and "--loss_type" in errors
    assert command("test", "--save_path=pub", "--loss_type=cosface", *SMALL)[0] == 0
    assert record()["options"]["loss_type"] == "cosface"


def drop_network(folder: Path) -> None:
    (folder / f"model-net-{STEP}.cpkt").unlink()


def truncate(folder: Path) -> None:
    path = folder / f"model-net-{STEP}.cpkt"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def lose_an_entry(folder: Path) -> None:
    path = folder / f"model-net-{STEP}.cpkt"
    state = torch.load(path)
    del state["conv2.0.weight"]
    torch.save(state, path)


def lose_the_head(folder: Path) -> None:
    torch.save({"some.weight": torch.ones(2)}, folder / f"model-net-{STEP}.cpkt")


def centers_of(shape: tuple[int, ...], name: str = "centers"):
    def damage(folder: Path) -> None:
        torch.save({name: torch.ones(shape)}, folder / f"model-mems-{STEP}.cpkt")

    return damage


@pytest.mark.parametrize(
    ("damage", "options", "message"),
    [
        (drop_network, [], f"is incomplete: there is no model-net-{STEP}.cpkt"),
        (truncate, [], "it is cut off"),
        (lose_an_entry, [], 'Missing key(s) in state_dict: "conv2.0.weight"'),
        (lose_the_head, [], "is of no network known here"),
        (centers_of((4, 8)), [], "are of 4 classes, the lists of tiny of 3"),
        (centers_of((3, 9)), [], "centres of 9 features, the network beside it gives 8"),
        (centers_of((3, 8), "weight"), [], "no entry centers"),
        (lambda folder: None, ["--network=resnext101"], "was made with --network=alexnet, not resnext101"),
        (lambda folder: None, ["--f_dim=16"], "was made with --f_dim=8, not 16"),
        (lambda folder: None, ["--attention=se"], "was made with --attention=dase, not se"),
        (
            lambda folder: None,
            ["--pretrained_model=7"],
            f"no checkpoint for step 7 in logs/pub/model; available: {STEP}",
        ),
    ],
)
def test_what_does_not_fit_says_so(prepared: Path, command, damage, options: list[str], message: str) -> None:
    write_pair(Path("logs/pub"), small_network())
    damage(Path("logs/pub/model"))
    status, _, errors = command("test", "--save_path=pub", *SMALL, *options)
    assert status == 2 and message in errors and len(errors.strip().splitlines()) == 1
    assert not Path("logs/pub/log/result.json").exists()


@pytest.mark.parametrize(
    ("classes", "dataset", "said"),
    [
        (250, "TUBerlin", "with 250 classes"),
        (125, "sketchy", "with 125 classes"),
        (3, "TUBerlin", "the default"),
        (None, "TUBerlin", "the default"),
    ],
)
def test_the_number_of_classes_tells_the_data_sets_of_the_paper_apart(
    classes: int | None, dataset: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        config = guess_dataset(Config(), classes)
    assert config.data.dataset == dataset and f"data set {dataset}" in caplog.text and said in caplog.text


def test_the_papers_margin_is_taken_and_others_are_checked(prepared: Path, command) -> None:
    write_pair(Path("logs/pub"), small_network())
    status, output, _ = command("test", "--save_path=pub", *SMALL)
    assert status == 0 and "margin 2: the published command's for mems with alexnet" in output
    assert "m = 2 is below 2 + sqrt(3)" in output and "does not store its lists" in output
    status, _, errors = command("test", "--save_path=pub", *SMALL, "--margin=0.5")
    assert status == 2 and "--margin 0.5 is out of range" in errors


def test_lists_of_test_sketches_alone_are_tested(prepared: Path, command) -> None:
    write_pair(Path("logs/pub"), small_network())
    assert command("test", "--save_path=pub", *SMALL)[0] == 0
    whole = record()
    path = Path("anno/tiny_sketch.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"train": []}))
    status, output, errors = command("test", "--save_path=pub", *SMALL)
    assert status == 0 and "no training sketches" in output, errors
    assert record()["metrics"] == whole["metrics"] and record()["hash"] == whole["hash"]
    assert record()["counts"]["trained_categories"] == 3


def test_a_published_pair_is_not_trained_on(prepared: Path, command) -> None:
    write_pair(Path("logs/pub"), small_network())
    before = sorted(Path("logs").rglob("*"))
    options = ("--network=alexnet", "--image_size=32", "--f_dim=8", "--num_steps=1")
    status, _, errors = command("train", "--save_path=pub", *options)
    assert status == 2 and "holds only checkpoints of the published program (step 20000)" in errors
    assert "--phase=test" in errors and f"--backbone_weights=logs/pub/model/model-net-{STEP}.cpkt" in errors
    assert sorted(Path("logs").rglob("*")) == before
