"""A run of resnet18, exported in all formats, for the tests of the exported files."""

import shutil
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

import main
from retrieval import hashing
from tests.conftest import SMALL_RUN

COMMON = ("--dataset=tiny", "--anno_path=anno", "--num_workers=0", "--device=cpu")


@pytest.fixture(scope="session")
def exported(trained_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of `trained_once` with a run of resnet18, exported in all formats.

    What was printed is in <format>.out and <format>.err.
    """
    folder = tmp_path_factory.mktemp("exported") / "home"
    shutil.copytree(trained_once, folder, ignore=shutil.ignore_patterns("logs"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(hashing, "FIT_STEPS", 100)
        train = ["--phase=train", *COMMON, "--network=resnet18", *SMALL_RUN[1:]]
        assert main.main(train) == 0
        for name in ("onnx", "torchscript", "safetensors"):
            with (
                Path(f"{name}.out").open("w") as output,
                Path(f"{name}.err").open("w") as errors,
                redirect_stdout(output),
                redirect_stderr(errors),
            ):
                export = ["--phase=export", "--save_path=run", f"--format={name}", *COMMON[1:]]
                assert main.main(export) == 0
    return folder
