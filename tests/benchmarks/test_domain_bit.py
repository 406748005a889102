"""MAP and gates with the domain bit flipped, and which runs can stand in one table."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from benchmarks import domain_bit
from tests.conftest import SMALL_RUN
from utils import checkpoints

pytestmark = pytest.mark.plots


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the table, the plot and the results."""
    folder = tmp_path / "output"
    folder.mkdir()
    monkeypatch.setattr(domain_bit, "TABLE", folder / "domain_bit.md")
    monkeypatch.setattr(domain_bit, "FIGURE", folder / "domain_bit.png")
    monkeypatch.setattr(domain_bit, "RESULTS", folder / "domain_bit.json")
    return folder


def test_a_network_with_its_bits_exchanged_has_the_results_of_swapped_bits(
    trained: Path, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """W z + b + w d with w turned round and added to b is the same network with the other bit."""
    path = Path("logs/run/model/checkpoint-4.pt")
    state = checkpoints.load(path)
    generator = torch.Generator().manual_seed(0)
    weights = [value for name, value in state["network"].items() if name.endswith("fc2.weight")]
    biases = [value for name, value in state["network"].items() if name.endswith("fc2.bias")]
    for weight in weights:  # far more than training gave it, so that it shows in the MAP
        weight[:, -1] = 9 * torch.randn(weight[:, -1].shape, generator=generator)
    checkpoints.save(path, state)
    for weight, bias in zip(weights, biases, strict=True):
        bias += weight[:, -1, 0, 0]
        weight[:, -1] *= -1
    state["options"]["seed"] = 1
    shutil.copytree("logs/run", "logs/exchanged")
    checkpoints.save(Path("logs/exchanged/model/checkpoint-4.pt"), state)

    domain_bit.main(["run", "exchanged"])
    records = json.loads((output / "domain_bit.json").read_text())
    own, exchanged = records["run"], records["exchanged"]
    for name, other in (("the right bits", "both swapped"), ("sketches as photos", "photos as sketches")):
        for here, there in ((own, exchanged), (exchanged, own)):
            assert here["MAP"][name] == pytest.approx(there["MAP"][other], abs=1e-4)
    assert len({round(maps["euclidean"], 2) for maps in own["MAP"].values()}) > 2
    assert own["gates"]["photos"]["alone"] == pytest.approx(exchanged["gates"]["photos"]["alone"], rel=1e-3)
    assert own["modules"] == ["blocks.0.se_module", "blocks.1.se_module"]
    assert own["counts"] == [3, 6, 9]
    table = (output / "domain_bit.md").read_text()
    assert "over the seeds 0, 1" in table and "| 2 | blocks.1.se_module |" in table
    assert table in capsys.readouterr().out
    assert (output / "domain_bit.png").stat().st_size > 10_000


def test_the_right_bits_are_those_of_the_test(trained: Path, output: Path) -> None:
    (tested,) = json.loads(Path("logs/run/log/result.json").read_text())
    domain_bit.main(["run"])
    (record,) = json.loads((output / "domain_bit.json").read_text()).values()
    assert record["MAP"]["the right bits"]["euclidean"] == pytest.approx(tested["metrics"]["MAP"], abs=1e-4)
    assert record["chance"] == tested["chance"]["MAP"]


def test_runs_that_differ_in_more_or_less_than_the_seed_are_refused(trained: Path, output: Path) -> None:
    shutil.copytree("logs/run", "logs/twice")
    with pytest.raises(SystemExit, match="logs/twice has the seed of another run, 0"):
        domain_bit.main(["run", "twice"])
    path = Path("logs/twice/model/checkpoint-4.pt")
    state = checkpoints.load(path)
    state["options"] |= {"seed": 1, "lr": 0.5}
    checkpoints.save(path, state)
    with pytest.raises(SystemExit, match="logs/twice and logs/run differ in more than the seed"):
        domain_bit.main(["run", "twice"])
    assert not list(output.iterdir())


def test_a_run_without_domain_aware_modules_is_refused(prepared: Path, command, output: Path) -> None:
    assert command("train", *SMALL_RUN, "--attention=se")[0] == 0
    with pytest.raises(SystemExit, match=r"logs/run has no domain-aware modules \(--attention=dase\)"):
        domain_bit.main(["run"])
    assert not list(output.iterdir())
