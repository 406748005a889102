"""The table of results of a report: chance, differences with their spread, runs of several seeds."""

import numpy as np
import pytest

from phases.report.page import describe_seeds, format_difference, tabulate_results

OPTIONS = {"loss_type": "softmax", "seed": 0}


def run(name: str, ap: list[float | None], *, lists: str = "same", seed: int = 0, rows: tuple = ()) -> dict:
    known = [value for value in ap if value is not None]
    return {
        "run": name,
        "step": 4,
        "metrics": {"MAP": float(np.mean(known)), "P@10": 40.0},
        "chance": {"MAP": 10.0, "P@10": 8.0},
        "MAP_interval": 2.5,
        "AP": ap,
        "hash": {"32": 30.0},
        "lists": lists,
        "published": {"rows": list(rows), "of": "all"},
        "definitions": dict.fromkeys(("MAP", "P@10", "hash", "chance", "ties", "gallery"), "as defined"),
        "options": {**OPTIONS, "seed": seed},
    }


def test_chance_and_published_numbers_are_rows_beside_the_runs() -> None:
    gdh = {"method": "GDH", "source": "a poster", "32": 72.4, "64": None}
    runs = {"A": run("a", [20.0, 40.0], rows=(gdh,)), "B": run("b", [50.0, 60.0], rows=(gdh,))}
    found = tabulate_results(runs, comparable=True)
    assert found["header"] == [
        *("run", "step", "MAP", "±", "MAP, difference to A", "P@10"),
        *(f"hash MAP, {bits} bits" for bits in (32, 64, 128)),
    ]
    assert found["rows"] == [
        ["A: a", 4, 30.0, "2.5", "", 40.0, 30.0, None, None],
        ["B: b", 4, 55.0, "2.5", "+25.0 ± 9.8", 40.0, 30.0, None, None],
        ["chance", None, 10.0, None, None, 8.0, 10.0, 10.0, 10.0],
        ["GDH (published)", None, None, None, None, None, 72.4, None, None],
    ]
    assert all(len(row) == len(found["header"]) for row in found["rows"])


def test_runs_on_other_lists_have_neither_differences_nor_one_chance() -> None:
    runs = {"A": run("a", [20.0]), "B": run("b", [30.0, 40.0], lists="others")}
    found = tabulate_results(runs, comparable=False)
    assert "MAP, difference to A" not in found["header"] and found["seeds"] == ""
    assert [row[0] for row in found["rows"]] == ["A: a", "B: b"]


def test_one_run_has_its_name_and_chance() -> None:
    assert [row[0] for row in tabulate_results({"A": run("a", [20.0])}, comparable=True)["rows"]] == [
        "a",
        "chance",
    ]


def test_differences_are_taken_query_by_query() -> None:
    own, base = run("a", [30.0, 50.0, None, 90.0]), run("b", [20.0, 40.0, None, 80.0])
    assert format_difference(own, base) == "+10.0 ± 0.0", "the same for every query, however these differ"
    gaps = np.array([10.0, -20.0, 4.0])
    half = 1.96 * gaps.std(ddof=1) / np.sqrt(3)
    assert (
        format_difference(run("a", [30.0, 20.0, 84.0]), run("b", [20.0, 40.0, 80.0])) == f"-2.0 ± {half:.1f}"
    )


def test_runs_of_several_seeds_have_their_spread() -> None:
    runs = {
        letter: run(letter, [value], seed=seed) for letter, value, seed in (("A", 20.0, 0), ("B", 24.0, 1))
    }
    runs["C"] = {**run("C", [50.0]), "options": {**OPTIONS, "loss_type": "mems"}}
    assert describe_seeds(runs) == (
        "A, B differ by the seed alone: MAP 22.0 ± 2.8 (sample standard deviation)."
    )
    assert describe_seeds({"A": runs["A"], "C": runs["C"]}) == ""
    assert describe_seeds({"A": runs["A"], "B": {**runs["B"], "step": 2}}) == ""


@pytest.mark.parametrize("count", [1, 2])
def test_one_query_has_no_spread(count: int) -> None:
    assert ("nan" in format_difference(run("a", [30.0] * count), run("b", [20.0] * count))) == (count == 1)
