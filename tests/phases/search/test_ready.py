"""The network that comes with the program: searched with where no run is named, and trained on from."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import main
from models import READY, build_network, ready_network
from models.weights import load_pretrained
from options.check import check_options
from options.parser import parse
from phases.export import ready
from phases.search.searcher import open_searcher
from tests.conftest import SMALL_RUN, draw_tree
from utils import checkpoints
from utils.errors import UserError

OPTIONS = [each for each in SMALL_RUN if not each.startswith(("--network", "--image_size", "--num_steps"))]
OPTIONS += ["--network=efficientnet_lite0", "--image_size=32", "--num_steps=2", "--save_path=source"]
PHOTOS = "--gallery=datasets/data/tiny/photos"
QUERY = "--query=datasets/data/tiny/sketches/cat/0.png"


@pytest.fixture(scope="module")
def trained_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A current directory with a small run, and a ready network exported from it as file.safetensors."""
    home = tmp_path_factory.mktemp("home")
    draw_tree(home / "datasets/data/tiny")
    common = ["--dataset=tiny", "--anno_path=anno", "--num_workers=0", "--device=cpu"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setattr(ready_network, "FILE", home / "file.safetensors")
        assert main.main(["--phase=prepare", *common, "--test_per_category=2"]) == 0
        assert main.main(["--phase=train", *common, *OPTIONS]) == 0
        assert ready.main(["source"]) == 0
    return home


@pytest.fixture
def home(trained_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current directory with the photos and without any run; the program comes with that network."""
    home = tmp_path / "elsewhere"
    shutil.copytree(trained_home / "datasets", home / "datasets")
    shutil.copy(trained_home / "file.safetensors", home)
    monkeypatch.chdir(home)
    monkeypatch.setattr(ready_network, "FILE", home / "file.safetensors")
    return home


def test_the_file_holds_the_run_in_half_precision(home: Path, trained_home: Path) -> None:
    checkpoint = checkpoints.load(trained_home / "logs/source/model/checkpoint-2.pt")
    stored = ready_network.read_ready()
    assert set(stored["network"]) == set(checkpoint["network"])
    for name, value in checkpoint["network"].items():
        assert stored["network"][name].dtype == value.dtype
        assert torch.allclose(stored["network"][name], value, rtol=1e-3, atol=1e-6), name
    assert torch.allclose(stored["loss"]["centers"], checkpoint["loss"]["centers"], rtol=1e-3, atol=1e-6)
    for name in ("step", "lists", "categories", "versions", "familiarity_limit"):
        assert stored[name] == checkpoint[name], name
    assert stored["options"]["network"] == "efficientnet_lite0"
    assert str(trained_home) not in json.dumps(stored["options"])
    assert ready_network.FILE.stat().st_size < 0.55 * 4 * sum(v.numel() for v in stored["network"].values())


def test_a_search_without_a_run_uses_it_and_reports_it(home: Path, command) -> None:
    status, output, errors = command("search", PHOTOS, QUERY)
    assert status == 0, errors
    assert "the network that comes with the program, step 2: trained on tiny: 3 categories" in output
    results = json.loads(Path("logs/ready/search/results.json").read_text())
    assert len(results["queries"][0]["hits"]) == 9
    assert Path("logs/ready/search/contact_sheet.png").is_file()
    status, output, errors = command("search", PHOTOS, QUERY, "--save_path=ready")
    assert status == 0 and "the network that comes with the program" in output, errors


def test_it_finds_what_the_run_finds(home: Path, trained_home: Path) -> None:
    sketch = "datasets/data/tiny/sketches/cat/1.png"
    hits = open_searcher(gallery=home / "datasets/data/tiny/photos", device="cpu").search(sketch)
    shutil.copytree(trained_home / "logs", "logs", dirs_exist_ok=True)
    expected = open_searcher("source", home / "datasets/data/tiny/photos", device="cpu").search(sketch)
    assert [hit.file for hit in hits] == [hit.file for hit in expected]
    for hit, other in zip(hits, expected, strict=True):
        assert hit.distance == pytest.approx(other.distance, rel=0.02)


def test_a_run_without_a_name_or_of_this_name_goes_before_it(home: Path, trained_home: Path, command) -> None:
    for name in ("expr", READY):
        shutil.copytree(trained_home / "logs/source", f"logs/{name}")
        arguments = ["--save_path=ready"] if name == READY else []
        status, output, errors = command("search", PHOTOS, QUERY, *arguments)
        assert status == 0 and f"\n{name}, step 2: trained on tiny" in f"\n{output}", errors
        shutil.rmtree("logs")


def test_it_searches_a_folder_of_photos_alone(home: Path, command) -> None:
    status, _, errors = command("search", QUERY)
    assert status == 2 and "name their folder with --gallery=FOLDER" in errors
    with pytest.raises(UserError, match="--gallery=FOLDER"):
        open_searcher()
    assert not Path("logs").exists()


@pytest.mark.parametrize("phase", ["search", "serve", "index"])
def test_these_phases_take_it_and_a_training_does_not(home: Path, phase: str) -> None:
    options = parse([f"--phase={phase}", PHOTOS, *[QUERY] * (phase == "search")])
    check_options(options)
    assert options.save_path == READY
    options = parse(["--phase=report"])
    check_options(options)
    assert options.save_path == "expr"


def test_a_training_starts_from_it(home: Path) -> None:
    network = build_network("efficientnet_lite0", attention="dase", f_dim=8)
    report = load_pretrained(network, "efficientnet_lite0", "ready")
    assert report.randomly_initialised == report.ignored == []
    expected = ready_network.read_ready()["network"]
    assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items())
    wider = build_network("efficientnet_lite0", attention="dase", f_dim=9)
    assert load_pretrained(wider, "efficientnet_lite0", "ready").randomly_initialised == [
        "features.weight",
        "features.bias",
    ]
    with pytest.raises(UserError, match="is of efficientnet_lite0, not of resnet18: give --network="):
        load_pretrained(build_network("resnet18", attention="dase", f_dim=8), "resnet18", "ready")


def test_the_distance_of_its_searches_can_be_chosen(home: Path, trained_home: Path, command) -> None:
    shutil.copytree(trained_home / "logs", "logs")
    assert ready.main(["source", "angular"]) == 0
    assert ready_network.read_ready()["options"]["test_distance"] == "angular"
    status, output, errors = command("search", PHOTOS, QUERY)
    assert status == 0 and "distance: angle in degrees" in output, errors
    status, output, errors = command("search", PHOTOS, QUERY, "--test_distance=euclidean")
    assert status == 0 and "distance: squared Euclidean distance" in output, errors


def test_a_damaged_file_is_named(home: Path, command) -> None:
    path = home / "file.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    status, _, errors = command("search", PHOTOS, QUERY)
    assert status == 2 and "file.safetensors" in errors and len(errors.strip().splitlines()) == 1
    path.unlink()
    status, _, errors = command("search", PHOTOS, QUERY)
    assert status == 2 and "no such file" in errors and "file.safetensors" in errors


def test_only_what_fits_into_the_repository_is_written(trained: Path, monkeypatch, capsys) -> None:
    """No larger file; nor numbers that half precision has no room for."""
    monkeypatch.setattr(ready, "LARGEST", 10_000)
    monkeypatch.setattr(ready_network, "FILE", trained / "ready/file.safetensors")
    assert ready.main(["run"]) == 2
    assert "the file would have 0.0 MB, more than 0" in capsys.readouterr().err
    with pytest.raises(UserError, match="bias has numbers that are too large for half precision"):
        ready.to_half("bias", torch.tensor([1.0, 7e4]))
    assert not (trained / "ready").exists()
