"""Every table uses options that exist, and published numbers are those of their source."""

import sys
from dataclasses import replace
from types import ModuleType

import pytest

import experiments.losses as rows_of_losses
import losses
import main
from experiments import TABLES, load_table
from experiments.published import published_features, published_hash_codes
from experiments.table import Row
from losses.margin import MarginLoss
from phases.reproduce.runs import get_metric, plan_runs
from run.config import config_from_options

DEFAULTS = vars(main.parse(["--phase=test"]))


@pytest.mark.parametrize("name", sorted(TABLES))
def test_rows_are_options_of_the_command_line(name: str) -> None:
    table = load_table(name)
    labels = [row.label for row in table.rows]
    assert len(set(labels)) == len(labels) > 1 or table.title == "Hash codes"
    for options in [row.options | row.test for row in table.rows] + [each.test for each in table.columns]:
        assert set(options) <= set(DEFAULTS)
    settings = [(str(sorted(row.options.items())), str(sorted(row.test.items()))) for row in table.rows]
    assert len(set(settings)) == len(settings), "two rows are the same"
    assert table.question.endswith("?")


@pytest.mark.parametrize("name", sorted(TABLES))
def test_every_row_is_a_training_that_can_be_planned(name: str) -> None:
    options = main.parse(["--phase=reproduce", f"--table={name}", "--seeds=2"])
    table = load_table(name)
    runs = plan_runs(name, table, config_from_options(options))
    assert len(runs) == 2 * len(table.rows)
    assert [run.config.seed for run in runs] == [0] * len(table.rows) + [1] * len(table.rows)
    training = {(row.label, str(sorted(row.options.items()))) for row in table.rows}
    folders = {run.folder for run in runs}
    assert len(folders) == 2 * len({options for _, options in training})


def test_a_new_loss_works_in_the_tables_of_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of its own and a line in LOSSES: the tables take the distance from its class."""
    module = ModuleType("losses.new")
    facts = losses.LossFacts("losses.new:New", distance="angular", default_margin=2.0)
    new_class = type("New", (MarginLoss,), {"facts": facts})
    vars(module)["New"] = new_class
    for name in ("learning_rates", "hashing"):
        load_table(name)  # so that the module without the new loss is back after the test
    monkeypatch.setitem(sys.modules, "losses.new", module)
    monkeypatch.setitem(losses.LOSSES, "new", facts)
    monkeypatch.setattr(rows_of_losses, "LOSSES", (*rows_of_losses.LOSSES, Row("new", {"loss_type": "new"})))
    for name in ("losses", "learning_rates", "hashing"):
        if name != "losses":
            monkeypatch.delitem(sys.modules, TABLES[name])
        table = (
            load_table(name)
            if name != "losses"
            else replace(rows_of_losses.TABLE, rows=rows_of_losses.LOSSES)
        )
        runs = plan_runs(
            name, table, config_from_options(main.parse(["--phase=reproduce", f"--table={name}"]))
        )
        new = [run for run in runs if run.config.loss.loss_type == "new"]
        assert new and all(run.config.loss.margin == 2.0 for run in new)
        if name == "hashing":
            assert new[0].config_of_test(table.columns[0]).test.test_distance == "angular"


def test_hash_codes_are_compared_with_features_by_the_losss_own_distance() -> None:
    rows = load_table("hashing").rows
    assert {str(row.options["loss_type"]): row.test["test_distance"] for row in rows} == {
        "mems": "euclidean",
        "cosface": "angular",
        "a-softmax": "angular",
        "softmax": "angular",
    }


def test_tables_have_all_rows_asked_of_them() -> None:
    margins = [row.options["margin"] for row in load_table("margins").rows]
    assert margins == [1.0, 1.5, 2.0, 3.0, 3.74, 4.0, 5.0]
    assert {row.options["loss_type"] for row in load_table("losses").rows} == {
        "mems",
        "cosface",
        "a-softmax",
        "softmax",
    }
    assert len(load_table("networks").rows) == 9
    assert [column.metric for column in load_table("hashing").columns[1:]] == [
        "hash 32",
        "hash 64",
        "hash 128",
    ]


# As the poster prints them: TU-Berlin | Sketchy, a dash where its two tables contradict each other
POSTER = """
HOG: .091 | .115
GF-HOG: .119 | .157
SHELO: .123 | .182
LKS: .157 | .190
Siamese CNN: .322 | .481
SaN: .154 | .208
GN Triplet: .187 | .529
3D shape: .072 | .084
Siamese-AlexNet: .367 | .518
Triplet-AlexNet: .448 | .573
CCA, 32 features: .276 | .361
CCA, 64 features: .366 | .555
CCA, 128 features: .365 | .705
XQDA, 32 features: .191 | .460
XQDA, 64 features: .197 | .557
XQDA, 128 features: .201 | .550
PLSR: .141 | .462
CVFL: .289 | .675
CMFH: .149 .202 .180 | .320 .490 .190
CMSSH: .121 .183 .175 | .206 .211 .211
SCM-Seq: .211 .276 .332 | .306 .417 .671
SCM-Orth: .217 .301 .263 | .346 .536 .616
CVH: .214 .294 .318 | .325 .525 .624
SePH: .198 .270 .282 | .534 .607 .640
DCMH: .274 .382 .425 | .560 .622 .656
DSH: .358 .521 .570 | .653 .711 .783
GDH: .563 .690 - | .724 - .784
"""


def test_published_numbers_are_those_of_the_poster() -> None:
    rows = {
        row.label: row for row in (*published_features("MAP"), *published_hash_codes(("32", "64", "128")))
    }
    lines = dict(line.split(": ") for line in POSTER.strip().splitlines())
    assert rows.keys() == lines.keys()
    for name, line in lines.items():
        assert "ECCV 2018" in rows[name].source
        for dataset, printed in zip(("TUBerlin", "sketchy"), line.split(" | "), strict=True):
            values = [None if value == "-" else 100 * float(value) for value in printed.split()]
            assert list(rows[name].values[dataset].values()) == pytest.approx(values)


def test_metrics_are_read_from_a_record() -> None:
    record = {
        "metrics": {"MAP": 1.0},
        "hash": {"64": {"MAP": 2.0}},
        "margin_condition": {"photos": {"share": 3.0}},
    }
    expected = {
        "MAP": 1.0,
        "hash 64": 2.0,
        "hash 32": None,
        "share photos": 3.0,
        "inside photos": None,
        "P@10": None,
    }
    assert {metric: get_metric(record, metric) for metric in expected} == expected
