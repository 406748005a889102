"""--phase=report of several runs: side by side on one page, with the published numbers, or a warning."""

import json
import shutil
from pathlib import Path

import pytest

import main
from phases.report import comparison_folder
from tests.conftest import SMALL_RUN
from tests.phases.report.test_report import SECTIONS as RUN_SECTIONS
from tests.phases.report.test_report import Page, check_complete

SECTIONS = ["results", "options", *(name for name in RUN_SECTIONS[1:] if name != "queries")]
PLAIN = ("--dataset=tiny", "--anno_path=anno", "--num_workers=0", "--device=cpu")


def read(folder: Path) -> tuple[Page, dict]:
    return Page(folder / "index.html"), json.loads((folder / "report.json").read_text())


def test_runs_stand_side_by_side(trained: Path, command) -> None:
    shutil.copytree("logs/run", "logs/sub/copy")
    other = [each for each in SMALL_RUN if not each.startswith("--save_path")]
    arguments = ["--attention=se", "--loss_type=cosface", "--test_distance=angular", "--save_path=other"]
    assert command("train", *other, *arguments)[0] == 0
    status, output, errors = command("report", "--save_path", "run", "sub/copy", "other", "--hash_bits=4")
    assert status == 0, errors
    folder = Path("logs/run/report/compared-with-sub_copy+other")
    assert f"page in {folder}/index.html" in output and "warning" not in output
    page, found = read(folder)
    check_complete(page, SECTIONS)
    assert len(page.of("img")) == len(list(folder.glob("*.png"))) == 10 + 3 * 4
    first, second, third = (found["runs"][letter] for letter in "ABC")
    assert [each["run"] for each in (first, second, third)] == ["run", "sub/copy", "other"]
    assert first["metrics"] == second["metrics"]
    for name, record in (("run", first), ("sub/copy", second), ("other", third)):
        (tested,) = json.loads(Path(f"logs/{name}/log/result.json").read_text())
        assert record["metrics"] == tested["metrics"] and record["distance"] == tested["distance"]
    table = page.text.partition("What the runs differ in option A B C ")[2]
    assert table.startswith(
        "attention dase dase se loss_type mems mems cosface margin 4.0 4.0 0.35 scale 32.0 "
        "test_distance euclidean euclidean angular All other options of training and test are the same."
    )
    assert "C: other cosface" not in page.text and "C: other" in page.text
    assert "No published numbers are at hand for the data set tiny" in page.text
    assert third["domain_bit"] is None and first["domain_bit"] == second["domain_bit"]


def test_runs_of_other_data_are_shown_with_a_warning(trained: Path, capsys) -> None:
    """The same images under another name, with another split."""
    shutil.copytree("datasets/data/tiny", "datasets/data/small")
    small = ["--dataset=small", *PLAIN[1:]]
    assert main.main(["--phase=prepare", *small, "--test_per_category=1"]) == 0
    common = [each for each in SMALL_RUN if not each.startswith("--save_path")]
    assert main.main(["--phase=train", *small, *common, "--save_path=small"]) == 0
    capsys.readouterr()
    assert main.main(["--phase=report", *PLAIN[1:], "--save_path", "run", "small", "--hash_bits=4"]) == 0
    assert "warning: these runs were tested on different data sets" in capsys.readouterr().out
    page, found = read(Path("logs/run/report/compared-with-small"))
    check_complete(page, SECTIONS)
    assert "their results are not comparable" in page.text and found["not_comparable"]
    at_chance = page.text.count("an untrained network does as well")
    assert [each["class"] for each in page.of("p") if "class" in each] == ["warning"] * (1 + at_chance)
    assert "tiny, 6 queries, 9 photos; small: small, 3 queries, 9 photos" in page.text


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        (["run", "run"], "names a run twice"),
        (["run", "gone"], "logs/gone; runs in logs: run; check --save_path"),
        (list("abcdefgh"), "at most 7"),
        (["run", "../run"], "is not a folder below logs/"),
    ],
)
def test_mistakes_are_one_line(trained: Path, command, runs: list[str], message: str) -> None:
    status, _, errors = command("report", "--save_path", *runs)
    assert status == 2 and message in errors and len(errors.strip().splitlines()) == 1
    assert not Path("logs/run/report").exists() and not Path("logs/gone").exists()


def test_the_name_of_the_folder_is_short_and_unique() -> None:
    assert str(comparison_folder(["a", "b/c"])) == "compared-with-a+b_c"
    long = [str(comparison_folder(["x" * 120 + last])) for last in "ab"]
    assert len(long[0]) < 100 and long[0] != long[1]
