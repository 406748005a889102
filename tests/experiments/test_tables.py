"""Every table is made of options that exist, and says of published figures what the source says."""

import pytest

import main
from experiments import TABLES, load_table
from experiments.published import BY_CODE_LENGTH, BY_NETWORK, real_valued
from phases.runs import figure, planned

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
    runs = planned(name, table, options)
    assert len(runs) == 2 * len(table.rows)
    assert [run.options.seed for run in runs] == [0] * len(table.rows) + [1] * len(table.rows)
    training = {(row.label, str(sorted(row.options.items()))) for row in table.rows}
    folders = {run.folder for run in runs}
    assert len(folders) == 2 * len({options for _, options in training})


def test_the_issue_is_covered() -> None:
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


def test_published_figures_are_cited_and_unknown_ones_empty() -> None:
    column = "MAP"
    rows = real_valued(column)
    assert len(rows) == 10 and all("ECCV 2018" in row.source for row in rows)
    assert not any(row.paper for name in TABLES for row in load_table(name).rows), "never from memory"
    assert BY_NETWORK["Triplet-AlexNet"] == (44.8, 57.3)
    assert BY_CODE_LENGTH["GDH"] == ((56.3, None, 65.9), (72.4, None, 78.4))  # the contradicting cells


def test_figures_are_found_in_a_record() -> None:
    record = {
        "metrics": {"MAP": 1.0},
        "hash": {"64": {"MAP": 2.0}},
        "margin_condition": {"photos": {"share": 3.0}},
    }
    wanted = {
        "MAP": 1.0,
        "hash 64": 2.0,
        "hash 32": None,
        "share photos": 3.0,
        "inside photos": None,
        "P@10": None,
    }
    assert {metric: figure(record, metric) for metric in wanted} == wanted
