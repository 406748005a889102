"""Exported checkpoints: published pairs and back, plain networks, weights."""

import json
import os
import shutil
import zipfile
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets import PHOTO, transforms
from datasets.images import read_image
from datasets.loaders import ImageSet
from models import build_network
from models.domain_folding import fold_domain_bit
from phases.export import onnx as onnx_form
from phases.export import per_domain, torchscript
from retrieval import hashing
from tests.conftest import SMALL_RUN
from tests.run.test_checkpoint import record, write_pair
from utils import optional
from utils.files import PROJECT

EXTRA = ("--image_size=64", "--batch_size=2", "--hash_bits=4")  # batches of the size of the run's
PLAIN = {"onnx": onnx_form, "torchscript": torchscript}


@pytest.mark.parametrize("network", ["tiny", "resnet18"])
def test_a_pair_tests_as_the_checkpoint_it_was_written_from(
    prepared: Path, command, monkeypatch: pytest.MonkeyPatch, network: str
) -> None:
    monkeypatch.setattr(hashing, "FIT_STEPS", 100)
    arguments = [each for each in SMALL_RUN if not each.startswith("--network")]
    assert command("train", *arguments, f"--network={network}")[0] == 0
    status, output, errors = command("export", "--save_path=run", "--format=published")
    assert status == 0, errors
    assert "main.py --phase=test --save_path=run/published --dataset=tiny" in output.splitlines()[-1]
    state = torch.load("logs/run/published/model/model-net-4.cpkt", weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    assert list(torch.load("logs/run/published/model/model-mems-4.cpkt", weights_only=True)) == ["centers"]
    status, _, errors = command("test", "--save_path=run/published", *EXTRA)
    assert status == 0, errors
    ours, theirs = record("run"), record("run/published")
    assert ours["metrics"] == theirs["metrics"] and ours["hash"] == theirs["hash"]
    for domain in ("sketch", "photo"):
        files = [f"logs/{run}/vec/{domain}-4.npy" for run in ("run", "run/published")]
        assert np.array_equal(*(np.load(file) for file in files))


def test_warns_of_what_the_published_program_lacks(prepared: Path, command) -> None:
    switches = ["--se_activation=relu", "--normalize", "--photo_channels=bgr"]
    assert command("train", "--network=resnet18", *SMALL_RUN[1:], *switches)[0] == 0
    status, output, _ = command("export", "--save_path=run")
    assert status == 0
    assert "builds no resnet18" in output and "knows no --se_activation and no --normalize" in output
    for option in ("--dataset=tiny", "--se_activation=relu", "--photo_channels=bgr", "--normalize"):
        assert f" {option}" in output[output.index("next: ") :]


def test_nothing_to_export(prepared: Path, command) -> None:
    status, _, errors = command("export", "--save_path=nothing")
    assert status == 2 and "there is no run" in errors and "logs/nothing; there are no runs in" in errors


def test_the_pair_of_a_zero_shot_run(tree: Path, command) -> None:
    """The printed command gives the same metrics as the run."""
    assert command("prepare", "--protocol=zero-shot", "--anno_path=zero")[0] == 0
    run = ["--loss_type=cosface", "--test_distance=angular", "--seed=3", "--anno_path=zero", *SMALL_RUN]
    assert command("train", *run)[0] == 0
    status, output, errors = command("export", "--save_path=run")
    assert status == 0, errors
    printed = next(line for line in output.splitlines() if line.startswith("next: "))
    arguments = printed.split("--phase=test ")[1].split()
    status, _, errors = command("test", *arguments, "--hash_bits=4")
    assert status == 0, errors
    ours, theirs = record("run"), record("run/published")
    assert ours["metrics"] == theirs["metrics"] and ours["hash"] == theirs["hash"]
    assert theirs["distance"] == "angular"


def inputs(folder: Path, domain: str) -> torch.Tensor:
    """All images of `tiny`, as the test embeds them."""
    transform, mode = (
        (transforms.sketch_test(64), "L") if domain == "sketch" else (transforms.photo_test(64), "RGB")
    )
    paths = sorted(folder.glob(f"datasets/data/tiny/{domain}*/*/*.png"))
    return torch.stack([transform(read_image(path, mode)) for path in paths])


@pytest.mark.parametrize("form", ["onnx", "torchscript"])
@torch.inference_mode()
def test_two_plain_networks_of_one_input(exported: Path, form: str) -> None:
    folder = exported / f"logs/run/export/{form}"
    names = [f"{domain}{PLAIN[form].SUFFIX}" for domain in ("sketch", "photo")]
    assert {path.name for path in folder.iterdir()} == {*names, "model_card.md", "use.py"}
    network = build_network("resnet18", attention="dase", f_dim=8).eval()
    state = torch.load(exported / "logs/run/model/checkpoint-4.pt", weights_only=True)
    network.load_state_dict(state["network"])
    for bit, name in enumerate(names):
        images = inputs(exported, Path(name).stem)  # 12 and 9: of other sizes than those that were tried
        found = PLAIN[form].read(folder / name)(images)
        expected, other = (
            network(images, torch.full((len(images),), float(each))) for each in (bit, 1 - bit)
        )
        assert found.shape == (len(images), 8) and (found - expected).abs().max() < 1e-5
        assert (found - other).abs().max() > 1e-4  # the domain is in there


@pytest.mark.parametrize("form", ["onnx", "torchscript"])
def test_only_the_written_files_and_their_checks_are_logged(exported: Path, form: str) -> None:
    start, *lines, end = (exported / f"{form}.out").read_text().splitlines()
    assert start == f"exporting step 4 of logs/run, trained on tiny, as {form}"
    assert end.startswith("next: ")
    folder = f"logs/run/export/{form}"
    for line, domain in zip(lines[:2], ("sketch", "photo"), strict=True):
        assert line.startswith(f"wrote {folder}/{domain}{PLAIN[form].SUFFIX}, ")
        assert float(line.split("its features are within ")[1].split()[0]) < 1e-5
    assert lines[0].endswith("(8 random images, 6 of the data set)")
    assert lines[1].endswith("(8 random images, 8 of the data set)")
    assert lines[2:] == [f"wrote {folder}/model_card.md and {folder}/use.py"]
    assert (exported / f"{form}.err").read_text() == ""


def test_an_onnx_file_is_complete_with_metadata_and_no_paths(exported: Path) -> None:
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    for domain in ("sketch", "photo"):
        path = exported / f"logs/run/export/onnx/{domain}.onnx"
        model = onnx.load(path, load_external_data=False)
        onnx.checker.check_model(model, full_check=True)
        assert model.opset_import[0].version >= 18
        assert not any(onnx.external_data_helper.uses_external_data(each) for each in model.graph.initializer)
        session = onnxruntime.InferenceSession(path)
        (taken,), (given,) = session.get_inputs(), session.get_outputs()
        assert (taken.name, taken.shape, taken.type) == ("images", ["batch", 3, 64, 64], "tensor(float)")
        assert (given.name, given.shape) == ("features", ["batch", 8])
        about = session.get_modelmeta().custom_metadata_map
        assert about["domain"] == domain and about["step"] == "4" and about["photo_channels"] == "rgb"
        content = path.read_bytes()
        assert str(PROJECT).encode() not in content and b"stack_trace" not in content


@pytest.mark.filterwarnings("ignore:.*torch.jit.load")
def test_torchscript_has_metadata_and_no_paths(exported: Path) -> None:
    path = exported / "logs/run/export/torchscript/photo.pt"
    extra = {"about.json": ""}
    network = torch.jit.load(path, _extra_files=extra)
    assert len(list(network.graph.inputs())) == 2  # itself and the images
    about = json.loads(extra["about.json"])
    assert about["domain"] == "photo" and about["image_size"] == "64" and about["network"] == "resnet18"
    with zipfile.ZipFile(path) as archive:
        assert not any(str(PROJECT).encode() in archive.read(name) for name in archive.namelist())


@pytest.mark.parametrize("form", ["torchscript", "safetensors"])
def test_without_the_data_set(trained: Path, command, form: str) -> None:
    shutil.rmtree("datasets")
    shutil.rmtree("anno")
    status, output, errors = command("export", "--save_path=run", f"--format={form}")
    assert status == 0, errors
    assert "exporting without the data set: no folder datasets/data/tiny" in output
    assert ("(8 random images, 0 of the data set)" in output) == (form != "safetensors")


@pytest.mark.parametrize("form", ["onnx", "torchscript"])
def test_a_network_that_differs_from_pytorch_is_not_written(
    trained: Path, command, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setattr(
        per_domain, "fold_domain_bit", lambda network, domain: fold_domain_bit(network, 1 - domain)
    )
    status, output, errors = command("export", "--save_path=run", f"--format={form}")
    assert status == 2
    assert f"sketch{PLAIN[form].SUFFIX} was not written: its features differ by up to" in errors
    assert "wrote" not in output and not Path("logs/run/export").exists()


def test_earlier_files_stay_unless_all_checks_pass(
    trained: Path, command, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("--save_path=run", "--format=torchscript")
    assert command("export", *arguments)[0] == 0
    before = {path: path.read_bytes() for path in Path("logs/run/export/torchscript").iterdir()}
    monkeypatch.setattr(
        per_domain, "fold_domain_bit", lambda network, domain: fold_domain_bit(network, 0)
    )  # right for sketches
    status, _, errors = command("export", *arguments)
    assert status == 2 and "photo.pt was not written" in errors
    assert before == {path: path.read_bytes() for path in Path("logs/run/export/torchscript").iterdir()}


def test_features_that_are_not_finite_are_not_exported(trained: Path, command) -> None:
    path = Path("logs/run/model/checkpoint-4.pt")
    state = torch.load(path, weights_only=True)
    state["network"]["head.bias"][0] = torch.nan
    path.unlink()  # it is a link to that of other tests
    torch.save(state, path)
    status, _, errors = command("export", "--save_path=run", "--format=torchscript")
    assert status == 2 and "weights that are not finite, first in head.bias" in errors
    assert not Path("logs/run/export").exists()


@pytest.mark.parametrize(("form", "package"), [("onnx", "onnxruntime"), ("safetensors", "safetensors.torch")])
def test_a_missing_package_is_named_before_any_work(
    trained: Path, command, monkeypatch: pytest.MonkeyPatch, form: str, package: str
) -> None:
    def imported(name: str):
        if name == package:
            raise ModuleNotFoundError(name=name.split(".")[0])
        return import_module(name)

    monkeypatch.setattr(optional, "import_module", imported)
    status, _, errors = command("export", "--save_path=run", f"--format={form}")
    name = package.split(".")[0]
    assert status == 2
    assert (
        f"--format={form} needs {name}, which is not installed: pip install -r requirements/export.txt"
        in errors
    )


def test_an_older_pytorch_is_refused(trained: Path, command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion("2.6.0+cpu"))
    status, _, errors = command("export", "--save_path=run", "--format=onnx")
    assert status == 2 and "needs PyTorch 2.7 or newer, this is 2.6.0+cpu" in errors


@pytest.mark.parametrize(
    ("form", "attention"), [("onnx", "none"), ("torchscript", "none"), ("torchscript", "se")]
)
@torch.inference_mode()
def test_networks_without_the_bit_and_small_images(tmp_path: Path, form: str, attention: str) -> None:
    network = build_network("resnet18", attention=attention, f_dim=8).eval()
    path = tmp_path / "network"
    PLAIN[form].write(fold_domain_bit(network, 1), torch.zeros(2, 3, 40, 40), path, {})
    read = PLAIN[form].read(path)
    for count in (1, 3):
        images = torch.rand(count, 3, 40, 40)
        assert (read(images) - network(images, torch.ones(count))).abs().max() < 1e-5


@pytest.mark.parametrize("form", ["torchscript", "safetensors"])
def test_a_published_pair(tree: Path, command, form: str) -> None:
    network = build_network("resnet18", attention="dase", f_dim=8).eval()
    centers = write_pair(Path("logs/pub"), network)
    status, output, errors = command("export", "--save_path=pub", f"--format={form}", "--image_size=32")
    assert status == 0, errors
    assert (
        "published checkpoint logs/pub/model/model-net-20000.cpkt: resnet18 (dase, reduction 16, 8" in output
    )
    folder = Path(f"logs/pub/export/{form}")
    if form == "safetensors":
        tensors = pytest.importorskip("safetensors.torch").load_file(folder / "model.safetensors")
        assert torch.equal(tensors["centers"], centers)
    else:
        images = torch.rand(3, 3, 32, 32)
        with torch.inference_mode():
            found = PLAIN[form].read(folder / f"photo{PLAIN[form].SUFFIX}")(images)
            assert (found - network(images, torch.ones(3))).abs().max() < 1e-5


def test_weights_and_their_metadata(exported: Path) -> None:
    safetensors = pytest.importorskip("safetensors")
    assert "155 entries: read back, equal bit for bit" in (exported / "safetensors.out").read_text()
    path = exported / "logs/run/export/safetensors/model.safetensors"
    assert (
        path.stat().st_mode & 0o777 == 0o666 & ~umask()
    )  # safetensors' own way of writing lets nobody else read
    state = torch.load(exported / "logs/run/model/checkpoint-4.pt", weights_only=True)
    with safetensors.safe_open(path, framework="pt") as file:
        about = file.metadata()
    tensors = import_module("safetensors.torch").load_file(path)
    assert torch.equal(tensors.pop("centers"), state["loss"]["centers"])
    assert set(tensors) == {f"network.{name}" for name in state["network"]}
    assert all(torch.equal(tensors[f"network.{name}"], value) for name, value in state["network"].items())
    assert json.loads(about["categories"]) == state["categories"]
    options = ("network", "attention", "se_activation", "se_reduction", "f_dim", "loss_type", "normalize")
    assert all(about[name] == str(state["options"][name]) for name in options)


def test_weights_that_are_read_back_changed_are_not_written(
    trained: Path, command, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = pytest.importorskip("safetensors.torch")

    def damaged(path: Path) -> dict[str, torch.Tensor]:
        tensors = library_load(path)
        tensors["network.head.bias"][3] += 1
        return tensors

    library_load = library.load_file
    monkeypatch.setattr(library, "load_file", damaged)
    status, output, errors = command("export", "--save_path=run", "--format=safetensors")
    assert status == 2 and "1 entries were read back with other values, first network.head.bias" in errors
    assert "wrote" not in output and not Path("logs/run/export").exists()


def umask() -> int:
    os.umask(mask := os.umask(0))
    return mask


def test_a_data_set_with_a_broken_image_does_not_stop_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    images = ImageSet(tmp_path, [("broken.png", 0)], PHOTO, transforms.photo_test(32))
    side = per_domain.make_domain_inputs("photo", (3, 32, 32), images)
    assert side.real == [] and [len(batch) for batch in side.random] == [1, 2, 5]
    assert "compared on random images alone: cannot read image" in caplog.text
