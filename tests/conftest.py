"""Fixtures: reference figures, tiny data sets made on the fly, and the command line as a user calls it."""

import importlib.util
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as main.py does: several test processes share the cores

import torch
from PIL import Image, ImageDraw

import main
from retrieval import hashing
from tests import tiny_network
from tests.victims import Zygote
from utils.plots import import_matplotlib

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GOLDEN = Path(__file__).parent / "golden"
CATEGORIES = ("bear (animal)", "cat", "hot-dog")

torch.set_num_threads(1)
tiny_network.register()
settings.register_profile(
    "repeatable", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def blank_plots(request: pytest.FixtureRequest) -> Iterator[None]:
    """Save figures blank, in their size, where a test is not marked `plots`.

    Drawing them would take two thirds of a tiny training with its test.
    """
    if request.node.get_closest_marker("plots"):
        yield
        return
    import_matplotlib()
    from matplotlib.figure import Figure

    def save_blank(figure: Figure, path: Path, **options: Any) -> None:
        width, height = figure.get_size_inches() * figure.dpi
        Image.new("L", (round(width), round(height)), 255).save(path, format="PNG", compress_level=0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", save_blank)
        yield


@pytest.fixture
def golden() -> Callable[[str], dict[str, np.ndarray]]:
    """Reads one file of figures that the published program computed."""

    def read(name: str) -> dict[str, np.ndarray]:
        with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as arrays:
            return dict(arrays)

    return read


@pytest.fixture(scope="session")
def fill() -> Callable[[torch.nn.Module], torch.nn.Module]:
    """Fills a network with the values that the reference figures were computed with."""
    spec = importlib.util.spec_from_file_location("fill", GOLDEN / "fill.py")
    assert spec and spec.loader
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.fill


def draw_tree(root: Path, *, sketches: int = 4, photos: int = 3, size: int = 40) -> Path:
    """A data set of three categories with the shape of the published ones."""
    rng = np.random.default_rng(0)
    for label, category in enumerate(CATEGORIES):
        for domain, count in (("sketches", sketches), ("photos", photos)):
            folder = root / domain / category
            folder.mkdir(parents=True)
            for index in range(count):
                if domain == "sketches":
                    image = Image.new("L", (size, size), 255)
                else:
                    image = Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8))
                corner = int(rng.integers(2, 8))
                box = (corner, corner, size - corner, size - corner)
                draw = ImageDraw.Draw(image)
                if label == 2:
                    draw.line(box, fill=0, width=2)
                else:
                    (draw.rectangle, draw.ellipse)[label](box, outline=0, width=2)
                image.save(folder / f"{index}.png")
    return root


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current directory with the data set `tiny` in datasets/data/tiny; returns that folder."""
    monkeypatch.chdir(tmp_path)
    return draw_tree(tmp_path / "datasets/data/tiny")


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Calls main.py with the data set `tiny` and lists in anno/: returns status, output and errors."""

    def call(phase: str, *arguments: str) -> tuple[int, str, str]:
        options = [f"--phase={phase}", "--anno_path=anno", "--num_workers=0", "--device=cpu"]
        if not any(argument.startswith("--dataset") for argument in arguments):
            options.append("--dataset=tiny")
        try:
            status = main.main([*options, *arguments])
        except SystemExit as stop:  # argparse
            status = int(str(stop.code))
        output = capsys.readouterr()
        return status, output.out, output.err

    return call


@pytest.fixture
def prepared(tree: Path, command: Callable[..., tuple[int, str, str]]) -> Path:
    """`tree`, with its lists made: 2 training and 2 test sketches and 3 photos per category."""
    status, _, errors = command("prepare", "--test_per_category=2")
    assert status == 0, errors
    return tree


SMALL_RUN = (
    "--network=tiny",
    "--image_size=64",
    "--f_dim=8",
    "--batch_size=2",
    "--num_steps=4",
    "--annealing_step=2",
    "--backbone_weights=none",
    "--hash_bits=4",
    "--save_path=run",
)


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A current directory with the data set `tiny`, its lists, and `logs/run`, trained and tested."""
    home = tmp_path_factory.mktemp("home")
    draw_tree(home / "datasets/data/tiny")
    common = ["--dataset=tiny", "--anno_path=anno", "--num_workers=0", "--device=cpu"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setattr(hashing, "FIT_STEPS", 100)
        assert main.main(["--phase=prepare", *common, "--test_per_category=2"]) == 0
        assert main.main(["--phase=train", *common, *SMALL_RUN, "--model_save_step=2"]) == 0
    return home


@pytest.fixture
def trained(trained_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current directory of this test's own, as `trained_once`; returns it."""
    home = tmp_path / "home"
    shutil.copytree(trained_once, home)  # with times, so that features are found to be of these files
    monkeypatch.chdir(home)
    monkeypatch.setattr(hashing, "FIT_STEPS", 100)
    # main.py's log goes to what pytest had caught of that test, which is closed by now
    logging.basicConfig(handlers=[logging.NullHandler()], force=True)
    return home


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """Starts commands as processes of their own in no time."""
    zygote = Zygote()
    yield zygote
    zygote.close()


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> "dict[str, Figure]":
    """The matplotlib figures that were saved, by the names of their files, to look into their axes."""
    from matplotlib.figure import Figure

    saved: dict[str, Figure] = {}
    save = Figure.savefig

    def remember(figure: Figure, path: Path, **options: Any) -> None:
        saved[path.name.removeprefix(".").split(".png")[0]] = figure
        save(figure, path, **options)

    monkeypatch.setattr(Figure, "savefig", remember)
    return saved
