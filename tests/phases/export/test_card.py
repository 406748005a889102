"""The model card: its facts agree with the run's files, and the program in it works."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from phases.export import use
from phases.export.card import describe_backbone, describe_program_licence
from retrieval import hashing
from tests.conftest import SMALL_RUN
from tests.run.test_checkpoint import small_network, write_pair
from tests.victims import Zygote
from utils import checkpoints
from utils.files import PROJECT

FORMS = ("onnx", "torchscript", "safetensors")
CARD = Path("logs/run/export/torchscript/model_card.md")
EXPORT = ("--save_path=run", "--format=torchscript")


def read_card(folder: Path, form: str) -> str:
    return (folder / f"logs/run/export/{form}/model_card.md").read_text(encoding="utf-8")


def section(card: str, title: str) -> str:
    return card.split(f"\n## {title}\n\n")[1].split("\n\n## ")[0]


def program_of(folder: Path, form: str) -> str:
    return re.findall(r"```python\n(.*?)```", read_card(folder, form), re.DOTALL)[0]


def run_elsewhere(folder: Path, form: str) -> str:
    """Run the program of a card in a process of its own, as its user does; returns what it prints."""
    script = folder / "use.py"
    script.write_text(program_of(folder, form), encoding="utf-8")
    drawing, photos = find_images(folder)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", script, folder / f"logs/run/export/{form}", drawing, *photos],
        check=True,
        capture_output=True,
        text=True,
        cwd="/",
        env={"PYTHONPATH": str(PROJECT) if form == "safetensors" else ""},
    )
    assert done.stderr == ""
    return done.stdout


def run_forked(folder: Path, zygote: Zygote) -> str:
    """The same for TorchScript's, without a new interpreter."""
    drawing, photos = find_images(folder)
    arguments = [str(each) for each in (folder / "logs/run/export/torchscript", drawing, *photos)]
    program = f"import warnings; warnings.simplefilter('ignore')\n{program_of(folder, 'torchscript')}"
    done = zygote.run(folder, *arguments, program=program)
    assert done.status == 0, done.text()
    return done.text()


def find_images(folder: Path) -> tuple[Path, list[Path]]:
    """The first test sketch and the gallery."""
    sketches, photos = (
        json.loads((folder / f"anno/tiny_{domain}.json").read_text())["test"]
        for domain in ("sketch", "photo")
    )
    root = folder / "datasets/data/tiny"
    return root / sketches[0][0], [root / name for name, _ in photos]


def compute_distances(folder: Path, *, angular: bool = False, views: int = 2) -> list[float]:
    """Distances from the first test sketch to the gallery, by the features that the test cached."""
    query, gallery = (
        np.load(folder / f"logs/run/vec/{domain}-4.npy").astype(float) for domain in ("sketch", "photo")
    )
    found = []
    for photo in range(gallery.shape[1]):
        pairs = [(query[i, 0], gallery[j, photo]) for i in range(views) for j in range(views)]
        if angular:
            norms = [np.linalg.norm(a) * np.linalg.norm(b) for a, b in pairs]
            found.append(min(np.arccos(a @ b / norm) for (a, b), norm in zip(pairs, norms, strict=True)))
        else:
            found.append(min(((a - b) ** 2).sum() for a, b in pairs))
    return found


def check_distances(folder: Path, output: str, expected: list[float]) -> None:
    """Of the photos that were printed, nearest first."""
    lines = [line.split("  ", 1) for line in output.splitlines()]
    found = {name: float(distance) for distance, name in lines}
    assert list(found.values()) == sorted(found.values())
    distances = [found[str(each)] for each in find_images(folder)[1]]
    assert distances == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_its_program_finds_the_distances_of_the_test(exported: Path, form: str) -> None:
    check_distances(exported, run_elsewhere(exported, form), compute_distances(exported))


def test_its_program_and_its_input_follow_the_switches_of_the_run(
    prepared: Path, command, zygote: Zygote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "FIT_STEPS", 100)
    switches = ["--photo_channels=bgr", "--normalize", "--test_distance=angular"]
    assert command("train", *SMALL_RUN, *switches)[0] == 0
    assert command("export", *EXPORT)[0] == 0
    check_distances(Path.cwd(), run_forked(Path.cwd(), zygote), compute_distances(Path.cwd(), angular=True))
    text = section(CARD.read_text(), "Input")
    assert "resized to 70 x 70" in text and "64 x 64 from row and column 3 on" in text  # int(1.1 * 64) = 70
    assert "in the order blue, green, red" in text and "normalised by mean 0.485, 0.456, 0.406" in text


def test_its_program_leaves_mirror_images_out_where_the_test_did(
    trained: Path, command, zygote: Zygote
) -> None:
    assert command("export", *EXPORT, "--mirror=off")[0] == 0
    check_distances(trained, run_forked(trained, zygote), compute_distances(trained, views=1))


def test_its_program_ends_quietly_when_nobody_reads_and_prints_names_of_any_kind(exported: Path) -> None:
    folder = exported / "logs/run/export/torchscript"
    drawing, photos = find_images(exported)
    latin = os.fsdecode(os.fsencode(exported) + b"/caf\xe9.png")
    shutil.copy(photos[0], latin)
    command = [sys.executable, "-W", "ignore", folder / "use.py", folder, drawing, latin]
    reader, writer = os.pipe()
    for end in ("open", "closed"):
        if end == "closed":
            os.close(reader)
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
        assert (done.returncode, done.stderr) == (0 if end == "open" else -signal.SIGPIPE, b"")
        if end == "open":
            assert os.read(reader, 1000).endswith(b"/caf\\udce9.png\n")
    os.close(writer)


def test_it_has_the_metrics_of_the_test(exported: Path) -> None:
    record = json.loads((exported / "logs/run/log/result.json").read_text())[0]
    text = section(read_card(exported, "onnx"), "Results")
    header, _, row, chance = (
        line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")
    )
    shown = dict(zip(header, row, strict=True))
    assert (shown.pop("distance"), shown.pop("mirror")) == ("euclidean", "on")
    assert shown.pop("hash MAP, 4 bits") == f"{record['hash']['4']['MAP']:.3f}"
    assert shown == {name: f"{value:.3f}" for name, value in record["metrics"].items()}
    expected = [*record["chance"].values(), record["chance"]["MAP"]]
    assert chance == ["chance", "", *(f"{value:.3f}" for value in expected)]
    assert all(f"- {name}: {meaning}" in text for name, meaning in record["definitions"].items())
    assert "over 6 test sketches and 9 photos" in text
    worst = min(record["per_category_MAP"].items(), key=lambda each: each[1])
    assert f"Lowest MAP of a category: {worst[0]} {worst[1]:.1f}," in text


@pytest.mark.parametrize("form", FORMS)
def test_its_facts_are_those_of_the_checkpoint(exported: Path, form: str) -> None:
    card = read_card(exported, form)
    state = torch.load(exported / "logs/run/model/checkpoint-4.pt", weights_only=True)
    assert "\n---\n\n# run, step 4\n" in card
    data = section(card, "Data")
    assert "categories: 3, all of them trained on: bear (animal), cat, hot-dog" in data
    assert "training: 6 sketches and 9 photos; test: 6 sketches against 9 photos" in data
    assert state["lists"] in data
    training = section(card, "Training")
    for name in (
        "network",
        "attention",
        "loss_type",
        "margin",
        "lr",
        "seed",
        "batch_size",
        "backbone_weights",
    ):
        assert f"| `--{name}` | {state['options'][name]} |" in training
    versions = section(card, "Versions")
    assert (
        f"trained with python {state['versions']['python']}, torch {state['versions']['torch']}" in versions
    )
    packages = {"onnx": ["onnx ", "onnxruntime "], "torchscript": [], "safetensors": ["safetensors "]}
    assert all(package in versions for package in packages[form])
    for path in (exported / f"logs/run/export/{form}").iterdir():
        if path.name != "model_card.md":
            assert f"| `{path.name}` | {path.stat().st_size:,} |" in section(card, "Files")
    assert str(exported) not in card and str(PROJECT) not in card


def test_its_checks_are_those_in_the_log(exported: Path) -> None:
    said = (exported / "onnx.out").read_text()
    found = re.findall(r"its features are within \S+ of PyTorch's", said)
    assert len(found) == 2 and all(each in section(read_card(exported, "onnx"), "Files") for each in found)


def test_an_untested_step_has_no_results(trained: Path, command) -> None:
    Path("logs/run/log/result.json").unlink()
    assert command("export", *EXPORT)[0] == 0
    assert "Step 4 has not been tested" in section(CARD.read_text(), "Results")
    assert command("export", *EXPORT, "--pretrained_model=2")[0] == 0
    assert "\n# run, step 2\n" in CARD.read_text()


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.update(step=3),
        lambda record: record.update(lists="of another split"),
        lambda record: record["training_options"].update(margin=9.0),
        lambda record: record["options"].update(image_size=32),
    ],
)
def test_results_of_other_weights_are_left_out(trained: Path, command, change) -> None:
    path = Path("logs/run/log/result.json")
    records = json.loads(path.read_text())
    change(records[0])
    path.unlink()
    path.write_text(json.dumps(records))
    assert command("export", *EXPORT)[0] == 0
    assert "Step 4 has not been tested" in section(CARD.read_text(), "Results")


def test_every_distance_that_was_tested_has_its_row(trained: Path, command) -> None:
    assert command("test", "--save_path=run", "--test_distance=angular", "--hash_bits=8")[0] == 0
    assert command("export", *EXPORT)[0] == 0
    text = section(CARD.read_text(), "Results")
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows[2:]] == ["angular", "euclidean", "chance"]
    assert "hash MAP, 4 bits | hash MAP, 8 bits" in text


def test_the_card_of_a_published_pair_states_what_is_unknown(prepared: Path, command) -> None:
    write_pair(Path("logs/run"), small_network("resnet18"))
    status, _, errors = command("export", *EXPORT, "--image_size=32")
    assert status == 0, errors
    card = CARD.read_text()
    assert "tiny, as given or guessed: the checkpoint does not state it" in section(card, "Data")
    assert "the numbers here are of the present ones" in section(card, "Data")
    assert "does not state its training" in section(card, "Training")
    assert "| `--image_size` | 32 |" in section(card, "Training")
    assert "margin" not in section(card, "Training")
    assert "the checkpoint does not say" in section(card, "Licences")
    assert "trained with" not in section(card, "Versions")


def test_unseen_categories_are_stated(tree: Path, command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "FIT_STEPS", 100)
    assert command("prepare", "--protocol=zero-shot", "--anno_path=anno")[0] == 0
    assert command("train", *SMALL_RUN)[0] == 0
    assert command("export", *EXPORT)[0] == 0
    assert "categories: 3, the first 2 of them trained on" in section(CARD.read_text(), "Data")
    assert "the categories searched for were not trained on" in section(CARD.read_text(), "Limits")


@pytest.mark.parametrize(
    ("network", "training", "said"),
    [
        ("resnext101", {"backbone_weights": "imagenet"}, "SENet, Apache-2.0), learned on ImageNet"),
        ("resnet18", {"backbone_weights": "imagenet"}, "IMAGENET1K_V1 (BSD-3-Clause), learned on ImageNet"),
        ("alexnet", {"backbone_weights": "none"}, "none, the training started at random"),
        ("resnext101", {"backbone_weights": "/home/me/other.pth"}, "those of a file, other.pth."),
        ("resnext101", {}, "does not say. The published program starts from SE-ResNeXt-101"),
        ("alexnet", {}, "does not say. The published program starts this network at random"),
    ],
)
def test_what_the_weights_started_from(network: str, training: dict[str, str], said: str) -> None:
    text = describe_backbone(network, training)
    assert said in text and "/home" not in text


def test_the_programs_licence_is_named_if_there_is_one(tmp_path: Path) -> None:
    assert "states no licence of its own" in describe_program_licence(tmp_path)
    (tmp_path / "LICENSE.txt").write_text("as you like")
    assert "stands in its LICENSE.txt" in describe_program_licence(tmp_path)


def test_cells_may_hold_bars(trained: Path, command) -> None:
    path = Path("logs/run/model/checkpoint-4.pt")
    state = checkpoints.load(path)
    state["options"]["backbone_weights"] = "/home/me/my|weights.pth"
    checkpoints.save(path, state)
    assert command("export", *EXPORT)[0] == 0
    assert "| `--backbone_weights` | my\\|weights.pth |" in section(CARD.read_text(), "Training")


def test_its_head_is_what_the_hub_reads(exported: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    record = json.loads((exported / "logs/run/log/result.json").read_text())[0]
    for form in FORMS:
        card = hub.ModelCard(read_card(exported, form))
        assert card.data.datasets == ["tiny"] and card.data.model_name == "run"
        assert card.data.license == "other" and "sketch-based-image-retrieval" in card.data.tags
        found = {each.metric_name: each.metric_value for each in card.data.eval_results}
        expected = {
            f"{name}, euclidean distance, mirror on": value for name, value in record["metrics"].items()
        }
        assert found == pytest.approx(expected, abs=1e-3)


def test_the_program_names_what_it_looks_for(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"has none of sketch\.onnx, sketch\.pt, model\.safetensors"):
        use.load(tmp_path, "sketch")
