"""The page's tables come from the results, between their marks and nowhere else."""

import json
from pathlib import Path

import pytest

from benchmarks import tables

PAGE = """before
<!-- results: work -->
old
<!-- end -->
between
<!-- results: other -->
<!-- end -->
"""


def row(name: str, role: str, seconds: float, times: float, peak: float | None) -> dict:
    return {
        "name": name,
        "role": role,
        "seconds_per_query": seconds,
        "times_the_baseline": times,
        "peak_mib": peak,
    }


RESULT = {
    "machine": {"cpu": "A CPU", "cores": 2, "torch": "2.0"},
    "work": {
        "input": "some queries",
        "date": "2026-01-01",
        "unit": "query",
        "variants": [
            row("ours", "", 0.002, 150.0, 7.6),
            row("plain", "baseline", 0.3, 1.0, None),
        ],
        "MAP": 87.65432,
        "loss": {"ours": [-1.28, -2.56]},
        "bytes, recall": {"exact": [2048, 100.0]},
    },
}


def test_tables_are_filled_and_filled_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    (tmp_path / "page.md").write_text(PAGE)
    (tmp_path / "machine.json").write_text(json.dumps(RESULT))
    tables.write_tables()
    page = (tmp_path / "page.md").read_text()
    assert page.startswith("before\n") and "old" not in page
    assert "| ours | 2 | 500 | 150 | 8 |" in page and "| plain (baseline) | 300 | 3.33 | 1 |  |" in page
    assert "A CPU, 2 cores" in page and "- MAP: 87.65" in page and "- loss: ours -1.28, -2.56" in page
    assert "| | bytes | recall |\n|---|---|---|\n| exact | 2048 | 100 |" in page
    assert page.endswith("<!-- results: other -->\n*Not measured yet.*\n<!-- end -->\n")
    tables.write_tables()
    assert (tmp_path / "page.md").read_text() == page


def test_the_summary_compares_this_program_with_the_other_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "SUMMARY", (("work", "Rank", "ours", "plain"), ("rest", "Read", "a", "b")))
    lines = tables.format_summary([RESULT, {"machine": {}}]).splitlines()
    assert lines[2:] == ["| Rank | some queries | 2 ms per query | 300 ms, plain | 150 |"]
    assert tables.format_summary([]) == ""


def test_the_results_at_hand_have_what_the_summary_names() -> None:
    summary = tables.format_summary(tables.read_results())
    assert {what for _, what, *_ in tables.SUMMARY} == {
        line.split(" | ")[0].removeprefix("| ") for line in summary.splitlines()[2:]
    }
