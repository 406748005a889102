"""A network of timm from the command line: trained, continued, tested and exported."""

import json
from pathlib import Path

from tests.conftest import SMALL_RUN
from utils import checkpoints

OPTIONS = [each for each in SMALL_RUN if not each.startswith(("--network", "--image_size"))]
OPTIONS += ["--network=timm:tinynet_e", "--image_size=32", "--margin=2"]


def test_a_run_of_timm_goes_through_all_phases(prepared: Path, command) -> None:
    status, output, errors = command("train", *OPTIONS)
    assert status == 0, errors
    assert "timm:tinynet_e (dase, 8 features" in output
    assert "input: normalised by mean 0.485, 0.456, 0.406, standard deviation 0.229, 0.224, 0.225" in output
    state = checkpoints.load(Path("logs/run/model/checkpoint-4.pt"))
    assert state["options"]["network"] == "timm:tinynet_e" and state["options"]["normalize"] is True
    assert any(
        bool(value[:, -1].any()) for name, value in state["network"].items() if "conv_expand.w" in name
    )
    record = json.loads(Path("logs/run/log/result.json").read_text())[0]
    assert record["options"]["normalize"] is True
    status, output, errors = command("train", *OPTIONS, "--num_steps=5")
    assert status == 0 and "continuing after step 4" in output, errors
    assert command("test", "--save_path=run")[0] == 0
    assert command("export", "--save_path=run", "--format=torchscript")[0] == 0
    status, output, errors = command("export", "--save_path=run", "--format=published")
    assert (
        status == 2 and "cannot be recognised from its weights: export it with --format=safetensors" in errors
    )
    assert not Path("logs/run/published/model").exists()


def test_a_network_without_se_modules_is_refused_before_anything_is_written(prepared: Path, command) -> None:
    status, _, errors = command("train", *OPTIONS, "--network=timm:resnet18")
    assert status == 2 and "has no SE modules" in errors and "timm:seresnet50" in errors
    assert len(errors.strip().splitlines()) == 1
    status, _, errors = command("train", *OPTIONS, "--network=timm:resnet")
    assert status == 2 and "do you mean timm:" in errors
    assert not Path("logs/run").exists()
