"""--phase=reproduce and --phase=report: a table on the demo set, stopped, continued and rebuilt."""

import csv
import dataclasses
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

import main
from datasets.demo.shapes import draw_demo
from experiments import hashing as hashing_table
from experiments import load_table
from experiments import margins as margins_table
from experiments.published import BITS
from models import build_network
from options.parser import parse
from phases import reproduce, test, train
from phases.report import is_run
from phases.reproduce.protocol import describe_protocol
from phases.reproduce.runs import Run, plan_runs
from retrieval import hashing
from run import results
from run.config import config_from_options
from tests.conftest import SMALL_RUN
from utils import checkpoint_files, checkpoints
from utils.errors import Diverged
from utils.files import write_json
from utils.locks import folder_lock

COMMON = (*SMALL_RUN[:-1], "--dataset=demo", "--save_path=table", "--seeds=2")
TABLES = Path("logs/table/tables")


@pytest.fixture
def demo(tmp_path: Path, command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hashing, "FIT_STEPS", 10)
    draw_demo(tmp_path / "datasets/data/demo", sketches=2, photos=2, image_size=32)
    assert command("prepare", "--dataset=demo", "--test_per_category=1")[0] == 0


def read_cells(name: str) -> dict[str, list[str]]:
    lines = (TABLES / f"{name}.md").read_text().partition("Difference to")[0].splitlines()
    rows = [line.strip("| ").split("|") for line in lines if line.startswith("| ")]
    return {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows}


def test_a_table_is_run_continued_and_rebuilt(demo: None, command, monkeypatch) -> None:
    asked = train.train_and_test
    calls = []

    def stopped_at_the_fourth(config) -> int:
        calls.append(config.save_path)
        return asked(config) if len(calls) < 4 else 143

    monkeypatch.setattr(train, "train_and_test", stopped_at_the_fourth)
    assert command("reproduce", "--table=attention", *COMMON)[0] == 143
    assert [read_cells("attention")[row][-1] for row in ("DASE", "SE", "none")] == ["1 of 2"] * 3
    status, _, errors = command("reproduce", "--table=attention", *COMMON)
    assert status == 143 and len(calls) == 5, "finished runs are not made again"
    monkeypatch.setattr(train, "train_and_test", asked)
    status, _, errors = command("reproduce", "--table=attention", *COMMON)
    assert status == 0, errors
    found = read_cells("attention")
    assert [found[row][-1] for row in ("DASE", "SE", "none")] == ["2"] * 3
    text = (TABLES / "attention.md").read_text()
    assert "12 categories, 12 test sketches against 24 photos" in text
    assert "not the published program's: image_size 64 (published 224)" in text and "num_steps 4" in text

    by_seed = {
        row: columns["MAP, Euclidean"]
        for row, columns in json.loads((TABLES / "attention.json").read_text())["values"].items()
    }
    values = list(by_seed["SE"].values())
    runs = [Path(f"logs/table/tiny-se-mems-m4-f8-annealed2-lr0.0001/seed-{seed}") for seed in (0, 1)]
    records = [json.loads((run / "log/result.json").read_text()) for run in runs]
    assert values == [
        record["metrics"]["MAP"] for each in records for record in each if record["distance"] == "euclidean"
    ]
    mean, spread = sum(values) / 2, abs(values[0] - values[1]) / 2**0.5
    assert found["SE"][0] == f"{mean:.1f} ± {spread:.1f}"
    gaps = [by_seed["SE"][seed] - by_seed["DASE"][seed] for seed in ("0", "1")]
    paired = f"| SE | {sum(gaps) / 2:+.1f} ± {abs(gaps[0] - gaps[1]) / 2**0.5:.1f} |"
    assert paired in text.partition("Difference to the row “DASE”, seed by seed")[2]
    with (TABLES / "attention.csv").open() as file:
        every = list(csv.DictReader(file))
    lines = [row for row in every if row["row"] == "SE" and row["column"] == "MAP, Euclidean"]
    chance = json.loads((TABLES / "attention.json").read_text())["chance"]
    # two photos of twenty-four are of a query's category
    assert chance["MAP, angular"] == pytest.approx(
        100 * (1 / 23 + 22 / 23 * sum(1 / n for n in range(1, 25)) / 24)
    )
    assert found["*chance*"][:2] == [f"{chance['MAP, Euclidean']:.1f}"] * 2
    printed = {row["column"]: float(row["value"]) for row in every if row["row"] == "chance"}
    assert printed == pytest.approx(chance, abs=1e-6)
    assert ("above chance** in the column MAP, Euclidean" in text) == any(
        sum(each.values()) / 2 < 1.25 * chance["MAP, Euclidean"] for each in by_seed.values()
    )
    assert [float(row["value"]) for row in lines] == pytest.approx(values, abs=1e-6)
    with Image.open(TABLES / "attention.png") as picture:
        assert min(picture.size) > 200

    shutil.rmtree(TABLES)
    monkeypatch.setattr(train, "train_and_test", None)  # nothing is trained
    status, output, errors = command("report", *COMMON)
    assert status == 0, errors
    assert "tables of the runs below logs/table on demo: all that have a finished run" in output
    rows = [f"table/tiny-{each}-mems-m4-f8-annealed2-lr0.0001/seed-0" for each in ("dase", "se", "none")]
    assert output.splitlines()[-1].endswith(f"--phase=report --save_path {' '.join(rows)} --device=cpu")
    assert (TABLES / "attention.md").read_text() == text
    assert read_cells("mirror")["with mirror images"][:2] == found["DASE"][:2], (
        "equal settings share their runs"
    )


def test_rows_of_a_test_share_one_training(demo: None, command, monkeypatch) -> None:
    trained = []
    asked = train.train
    monkeypatch.setattr(train, "train", lambda *a: trained.append(1) or asked(*a))
    status, output, errors = command("reproduce", "--table=mirror", *COMMON, "--seeds=1")
    assert status == 0, errors
    assert len(trained) == 1
    on, off = (read_cells("mirror")[row] for row in ("with mirror images", "as is alone"))
    assert on[-1] == off[-1] == "1" and on[:2] != off[:2]

    (folder,) = (path.parent for path in Path("logs/table").rglob("log"))
    options = parse(shlex.split(output.splitlines()[-1].removeprefix("next: "))[2:])
    config = config_from_options(options)
    assert (options.phase, config.folder) == ("report", folder) and is_run(config)


def test_rates_of_single_losses_and_what_a_row_sets_itself(demo: None, command) -> None:
    arguments = [*COMMON, "--seeds=1", "--margin=1.5", "--lr_of", "lmcl=3e-3", "softmax=2e-3"]
    status, output, errors = command("reproduce", "--table=losses", *arguments, "--dry_run")
    assert status == 0, errors
    assert "--margin has no effect on rows of the table losses that set it themselves" in output
    assert sorted(re.findall(r"^  (\S+)/$", output, re.MULTILINE)) == [
        "tiny-dase-a-softmax-m4-f8-annealed2-lr0.0001",
        "tiny-dase-cosface-m0.35-s32-f8-annealed2-lr0.003",
        "tiny-dase-mems-m2-f8-annealed2-lr0.0001",
        "tiny-dase-mems-m4-f8-annealed2-lr0.0001",
        "tiny-dase-softmax-f8-lr0.002",
    ]


def test_a_run_locked_by_another_process_is_skipped(demo: None, command) -> None:
    run = Path("logs/table/tiny-se-mems-m4-f8-annealed2-lr0.0001/seed-0")
    with folder_lock(run):
        status, output, _ = command("reproduce", "--table=attention", *COMMON, "--seeds=1")
    assert status == 0 and "is in use by process" in output and "left to other processes: 1 runs" in output
    assert [read_cells("attention")[row][-1] for row in ("DASE", "SE", "none")] == ["1", "0 of 1", "1"]


def test_a_divergence_is_recorded_and_not_tried_again(demo: None, command, monkeypatch) -> None:
    asked, calls = train.train_and_test, []

    def diverging(config) -> int:
        calls.append(config.network.attention)
        if config.network.attention == "se":
            raise Diverged("the loss became nan")
        return asked(config)

    monkeypatch.setattr(train, "train_and_test", diverging)
    assert command("reproduce", "--table=attention", *COMMON, "--seeds=1")[0] == 0
    assert read_cells("attention")["SE"][-1] == "0 of 1, 1 diverged"
    assert command("reproduce", "--table=attention", *COMMON, "--seeds=1")[0] == 0
    assert calls == ["dase", "se", "none"]


class Clock:
    """A clock that tests advance."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


def test_the_time_left_is_logged_after_the_first_run(demo: None, command, monkeypatch) -> None:
    clock, minutes = Clock(), iter([60, 200, 1, 1, 1, 1])

    def of_known_length(config) -> int:
        clock.now += 60 * next(minutes)
        return 0

    monkeypatch.setattr(reproduce, "time", clock)
    monkeypatch.setattr(train, "train_and_test", of_known_length)
    monkeypatch.setattr(test, "test_checkpoint", lambda config: None)
    finished: list[str] = []
    monkeypatch.setattr(reproduce, "is_finished", lambda each, table: each.config.save_path in finished)
    make_run = reproduce.make_run

    def make_and_note(each, table) -> int:
        finished.append(each.config.save_path)
        return make_run(each, table)

    monkeypatch.setattr(reproduce, "make_run", make_and_note)
    status, output, errors = command("reproduce", "--table=attention", *COMMON)
    assert status == 0, errors
    lines = [line for line in output.splitlines() if ", run " in line]
    assert [line.partition("seed ")[2] for line in lines] == [
        "0",
        "0, about 5 h 0 min left",  # five runs of an hour
        "0, about 8 h 40 min left",  # four of 130 minutes
        "1, about 4 h 21 min left",
        "1, about 2 h 11 min left",
        "1, about 53 min left",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (20, "less than a minute"),
        (3599, "about 1 h 0 min"),
        (7800, "about 2 h 10 min"),
        (86399, "about 1 d 0 h"),
        (200_000, "about 2 d 8 h"),
    ],
)
def test_durations_in_words(seconds: float, text: str) -> None:
    assert reproduce.describe_duration(seconds) == text


def make_record(run: Run, *, distance: str = "euclidean", **tested) -> dict:
    """A record of result.json, as the test of this run writes it."""
    return {
        "step": run.config.train.num_steps,
        "distance": distance,
        "mirror": "on",
        "seed": run.config.seed,
        "metrics": {"MAP": 1.0},
        "chance": {"MAP": 1.0},
        "hash": {},
        "hash_gradient": "published",
        "definitions": {},
        "counts": dict.fromkeys(results.REQUIRED_COUNTS, 1),
        "per_category_MAP": {},
        "lists": "",
        "options": {"margin_condition": "on", "hash_bits": BITS, "hash_gradient": "published", **tested},
        "training_options": run.config.as_dict(),
        "training_machine": {},
    }


def test_a_dry_run_lists_what_there_is_and_changes_nothing(demo: None, command) -> None:
    arguments = ["--table", "attention", "mirror", *COMMON, "--num_workers=0", "--device=cpu"]
    status, output, errors = command("reproduce", *arguments, "--dry_run")
    assert status == 0, errors
    assert not Path("logs").exists()
    assert "6 runs: 6 not begun" in output and "in all 6 trainings" in output and "6 left to do" in output

    options = parse(["--phase=reproduce", *arguments])
    dase, se, none, dase_1, _, _ = plan_runs(
        "attention", load_table("attention"), config_from_options(options)
    )
    tested = [make_record(dase, distance=each) for each in ("euclidean", "angular")]
    write_json(dase.folder / "log" / "result.json", json.loads(json.dumps(tested, default=str)))
    none.mark_diverged(Diverged("the loss became nan"))
    for run, step in ((dase, 4), (se, 4), (dase_1, 1), (none, 2)):
        checkpoints.save(checkpoint_files.checkpoint_path(run.folder / "model", step), {})
    before = {path: path.stat().st_mtime_ns for path in Path("logs").rglob("*")}
    status, output, errors = command("reproduce", *arguments, "--dry_run")
    assert status == 0, errors
    assert before == {path: path.stat().st_mtime_ns for path in Path("logs").rglob("*")}
    assert all(len(line) <= 80 for line in output.splitlines() if not line.startswith("next: "))
    first = output.partition("(table mirror)")[0].splitlines()
    assert first[first.index("DASE") + 1 :][:3] == [
        f"  {dase.folder.parent.name}/",
        "    seed-0  finished",
        "    seed-1  step 1 of 4",
    ]
    assert first[first.index("SE") + 2 :][:2] == ["    seed-0  tests missing", "    seed-1  not begun"]
    assert first[first.index("none") + 2 :][:2] == ["    seed-0  diverged", "    seed-1  not begun"]
    assert "6 runs: 1 finished, 1 with tests missing, 1 begun, 2 not begun, 1 diverged" in first
    line = output.splitlines()[-1]
    again = parse(shlex.split(line)[3:])
    assert line.startswith("next: ") and again.dry_run is None
    assert vars(again) == {**vars(options), "dry_run": None, "given": again.given}


def test_a_dry_run_needs_no_data(demo: None, command) -> None:
    shutil.rmtree("datasets")
    shutil.rmtree("anno")
    status, output, errors = command("reproduce", "--table=attention", *COMMON, "--dry_run")
    assert "next: " not in output
    assert status == 0, errors
    assert "6 not begun" in output and "warning: none can be made yet: no folder" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--phase=reproduce"], "--table"),
        (["--phase=report", "--dry_run"], "--dry_run has no meaning"),
        (["--phase=reproduce", "--table=losses", "--lr_of", "mems"], "loss=rate"),
        (["--phase=reproduce", "--table=losses", "--lr_of", "triplet=1"], "loss=rate"),
        (["--phase=report"], "logs/table; there are no runs in"),
        (["--phase=train", "--seeds=2"], "--seeds has no meaning"),
    ],
)
def test_bad_input_is_one_line(demo: None, command, arguments: list[str], message: str) -> None:
    phase = arguments[0].removeprefix("--phase=")
    common = COMMON[:-1] if phase == "train" else COMMON
    status, _, errors = command(phase, *common, *arguments[1:])
    assert status == 2 and message in errors and len(errors.strip().splitlines()) == 1


def test_finished_runs_of_other_options_or_lists_are_refused(demo: None, command) -> None:
    arguments = ["--table=mirror", *COMMON, "--seeds=1"]
    assert command("reproduce", *arguments)[0] == 0
    before = (TABLES / "mirror.md").read_text()
    for phase in ("reproduce", "report"):
        status, _, errors = command(phase, *arguments, "--batch_size=3")
        assert status == 2 and "was made with --batch_size=2, not 3; choose another --save_path" in errors
    assert command("prepare", "--dataset=demo", "--test_per_category=1", "--force", "--seed=9")[0] == 0
    status, _, errors = command("reproduce", *arguments)
    assert status == 2 and "several annotation lists" in errors
    assert (TABLES / "mirror.md").read_text() == before


def test_what_a_table_has_columns_for_is_tested(demo: None, command, monkeypatch) -> None:
    for table in (hashing_table, margins_table):  # two of their rows
        monkeypatch.setattr(table, "TABLE", dataclasses.replace(table.TABLE, rows=table.TABLE.rows[-2:]))
    arguments = [*COMMON, "--seeds=1", "--margin_condition=off"]
    status, _, errors = command("reproduce", "--table", "hashing", "margins", *arguments)
    assert status == 0, errors
    assert all(all(read_cells("hashing")[row.label][:4]) for row in hashing_table.TABLE.rows)
    assert all(
        read_cells("margins")[name][2] and read_cells("margins")[name][4] for name in ("m = 4", "m = 5")
    )
    monkeypatch.setattr(train, "train_and_test", None)  # nothing is left to do
    assert command("reproduce", "--table", "hashing", "margins", *arguments)[0] == 0


@pytest.mark.parametrize(("stored", "wanted"), [("published", 3), ("identity", 0)])
def test_codes_of_the_other_gradient_are_fitted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: str, wanted: int
) -> None:
    """Tables take no results with another --hash_gradient."""
    monkeypatch.chdir(tmp_path)
    options = parse(["--phase=reproduce", "--table=hashing", "--dataset=sketchy", "--seeds=1"])
    table = load_table("hashing")
    run = plan_runs("hashing", table, config_from_options(options))[0]
    record = make_record(run, hash_gradient=stored)
    write_json(run.folder / "log" / "result.json", json.loads(json.dumps([record], default=str)))
    codes = [column for column in table.columns if column.metric.startswith("hash")]
    assert len(run.read_records(codes)) == wanted


def test_rows_that_do_not_differ_are_refused(demo: None, command) -> None:
    status, _, errors = command("reproduce", "--table=annealing", *COMMON, "--loss_type=softmax")
    assert status == 2 and "--annealing_step has no meaning for --loss_type=softmax" in errors
    common = [option for option in COMMON if not option.startswith("--annealing_step")]
    status, _, errors = command("reproduce", "--table=annealing", *common, "--loss_type=softmax")
    assert status == 2 and "rows of the table annealing do not differ" in errors


def test_a_report_skips_tables_that_the_options_do_not_suit(demo: None, command) -> None:
    file = Path("weights.pt")
    torch.save(build_network("tiny", attention="se", f_dim=8).state_dict(), file)
    padded = [f"--backbone_weights={file}", "--pad_pretrained_se"]
    arguments = [*COMMON, "--seeds=1", *padded]
    assert command("reproduce", "--table=mirror", *arguments)[0] == 0
    status, output, errors = command("report", *arguments)
    assert status == 0, errors
    assert "no table attention: --pad_pretrained_se needs --attention=dase" in output
    assert "table in logs/table/tables/mirror.md" in output


def describe(name: str, arguments: list[str], counts: dict | None = None) -> str:
    """The recipe of the table `name` with these options, in words."""
    config = config_from_options(main.parse(["--phase=report", "--dataset=sketchy", *arguments]))
    table = load_table(name)
    return describe_protocol(table, plan_runs(name, table, config), config, counts)[1]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("--normalize", "normalize True (published False)"),
        ("--margin=2", "margin 2.0 (published 4.0)"),
        ("--network=alexnet", "batch_size 22 (published 400)"),
        ("--photo_channels=bgr", "photo_channels bgr (published rgb)"),
        ("--amp=bf16", "amp bf16 (published off)"),
        ("--accumulate=2", "accumulate 2 (published 1)"),
    ],
)
def test_differences_to_the_published_recipe_are_listed(given: str, said: str) -> None:
    assert describe("attention", []).startswith("The published program's recipe")
    text = describe("attention", [given])
    assert text.startswith("A reduced protocol") and said in text


def test_a_reduced_protocol_names_the_rows_that_differ() -> None:
    """One loss has its own learning rate; softmax has no margin to anneal."""
    text = describe("losses", ["--lr_of", "cosface=3e-4", "--annealing_step=5"])
    assert "lr 0.0003 (published 0.0001) for CosFace, m = 0.35, s = 32." in text
    assert "annealing_step 5 (published 100000)," in text, "of every loss that has a margin"


def test_a_subset_of_the_categories_is_no_published_protocol() -> None:
    counts = {"categories": 25, "trained_categories": 25, "queries": 125, "gallery": 625}
    text = describe("attention", [], counts)
    assert "reduced" in text and "25 categories (published 125)" in text


def test_zero_shot_tables_have_no_published_numbers_of_seen_categories(demo: None, command) -> None:
    Path("datasets/data/demo").rename("datasets/data/sketchy")
    zero_shot = ["--dataset=sketchy", "--anno_path=zero", "--class_list=unseen.txt", "--protocol=zero-shot"]
    Path("unseen.txt").write_text("cup\nkey\n")
    assert command("prepare", *zero_shot)[0] == 0
    arguments = ["--dataset=sketchy", "--anno_path=zero", "--table=hashing", *COMMON, "--dataset=sketchy"]
    status, _, errors = command("reproduce", *arguments, "--seeds=1")
    assert status == 0, errors
    text = (TABLES / "hashing.md").read_text()
    assert "12 categories, 2 of them unseen" in text and "DCMH" not in text
