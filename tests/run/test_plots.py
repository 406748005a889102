"""Charts of the program: what stands in their axes is what was measured."""

import math
from pathlib import Path

import numpy as np
import pytest

from run import plots
from run.plots import confused_pairs, select_differing_categories, split_categories, tabulate_map
from tests.figures import lines, texts

pytestmark = pytest.mark.plots


def test_curves_have_the_run_chance_and_the_share_of_the_margin(tmp_path: Path, figures) -> None:
    (tmp_path / "scalars.csv").write_text(
        "step,loss,lr,alpha,images_per_second\n1,4.0,0.1,0.5,9\n2,3.0,0.05,1.0,9\n"
    )
    for margin in (True, False):
        plots.save_training_curves(
            tmp_path / "scalars.csv", tmp_path / "curves.png", run="sub/my run", classes=25, margin=margin
        )
        axes = figures["curves"].axes
        assert lines(axes[0])["this run"] == ([1, 2], [4, 3])
        assert lines(axes[0])["chance: ln 25 = 3.22"][1] == pytest.approx([math.log(25)] * 2)
        assert lines(axes[1])["this run"][1] == [0.1, 0.05]
        assert (len(axes) == 3) == margin and "sub/my run" in texts(figures["curves"])
        if margin:
            assert lines(axes[2])["this run"][1] == [0.5, 1.0]
    (tmp_path / "scalars.csv").write_text("step,loss,lr,alpha,images_per_second\n")
    plots.save_training_curves(
        tmp_path / "scalars.csv", tmp_path / "empty.png", run="a", classes=25, margin=True
    )


def test_the_margin_condition_has_one_scale_and_its_words(tmp_path: Path, figures) -> None:
    panels = {
        "centres": (np.array([2.0, math.inf, 90.0]), np.array([1.0, 0.0, 1.0])),
        "photos": (np.array([1.0, 2.0, 2.5]), np.array([3.0, 1.0, 2.0])),
    }
    plots.save_margin_condition(panels, tmp_path / "condition.png", title="run, step 4")
    first, second = figures["condition"].axes[:2]
    assert first.get_xlim() == first.get_ylim() == second.get_xlim() == second.get_ylim()
    dots = [line for line in second.lines if line.get_marker() == "o"]
    assert [list(dots[0].get_xdata()), list(dots[0].get_ydata())] == [[1, 2, 2.5], [3, 1, 2]]
    words = texts(figures["condition"])
    assert "holds for 1 of 3 categories" in words and "(2 beyond the axes)" in words
    for each in ("run, step 4", "the condition holds", "it fails", plots.CONDITION, "a dot is a category"):
        assert each in words


def test_a_table_starts_at_0_with_chance_as_a_line(tmp_path: Path, figures) -> None:
    values = {"MEMS": {"MAP": [50.0]}, "softmax": {"MAP": [40.0]}}
    plots.save_table(values, {"MAP": 4.94}, tmp_path / "one.png", title="Losses\nSketchy")
    (axis,) = figures["one"].axes
    assert axis.get_xlim()[0] == 0 and lines(axis) == {
        "MAP": ([50, 40], [0, 1]),
        "chance 4.9": ([4.94, 4.94], [0, 1]),
    }
    assert "Losses\nSketchy" in texts(figures["one"]) and len(axis.lines) == 2, "no bar"
    assert "seed" not in texts(figures["one"])
    values["MEMS"]["MAP"].append(60.0)
    plots.save_table(values, {}, tmp_path / "two.png", title="Losses")
    assert len(figures["two"].axes[0].lines) == 2 and "a point is a seed" in texts(figures["two"])


def test_many_categories_are_shown_from_both_ends() -> None:
    def charts(count: int) -> dict:
        values = {f"category {number}": float(number) for number in range(count)}
        return split_categories({"per_category_MAP": values})

    assert [next(iter(chart.values())) for chart in charts(250).values()] == [{"MAP": [249]}, {"MAP": [29]}]
    assert [len(chart) for chart in charts(250).values()] == [30, 30]
    assert [len(chart) for chart in charts(45).values()] == [30, 15]
    assert list(charts(2)["categories"]) == ["category 1", "category 0"]


def test_the_most_confused_pairs_come_first() -> None:
    found = {"rows": ["a", "b"], "columns": ["a", "b", "c"], "share": [[90, 0, 10], [30, 50, 20]]}
    assert confused_pairs(found) == [("b", "a", 30), ("b", "c", 20), ("a", "c", 10)]


def test_of_many_categories_the_worst_are_in_the_table_of_confusion(tmp_path: Path, figures) -> None:
    names = [f"category {number}" for number in range(50)]
    share = np.diag(np.arange(50.0)) + np.eye(50, k=1) * 10
    plots.save_confusion(
        {"rows": names, "columns": names, "share": share.tolist(), "top": 10}, tmp_path / "c.png"
    )
    axis = figures["c"].axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == names[:40]
    assert [label.get_text() for label in axis.get_xticklabels()] == [*names[:40], "all others"]
    drawn = np.asarray(axis.images[0].get_array())
    assert (
        np.array_equal(drawn[:, :40], share[:40, :40]) and drawn[39, 40] == 10 and drawn[:39, 40].max() == 0
    )


def record(values: dict[str, float], *, lists: str = "same") -> dict:
    rows = [
        {"method": "GDH", "source": "a poster", "32": 72.4, "64": None},
        {"method": "paper", "source": "-"},
    ]
    return {
        "metrics": {"MAP": sum(values.values()) / len(values)},
        "hash": {"32": 5.0},
        "per_category_MAP": values,
        "lists": lists,
        "published": {"rows": rows},
    }


def test_the_chart_of_all_has_published_numbers_where_they_are_known() -> None:
    runs = {"A": record({"cat": 10.0}), "B": record({"cat": 30.0})}
    assert tabulate_map(runs) == {
        "A": {"features": [10], "32 bits": [5]},
        "B": {"features": [30], "32 bits": [5]},
        "GDH": {"32 bits": [72.4]},
    }
    assert set(tabulate_map({"A": runs["A"], "B": record({"cat": 1.0}, lists="others")})) == {"A", "B"}


def test_categories_that_differ_most_are_shown() -> None:
    names = [f"category {number}" for number in range(100)]
    runs = {
        "A": record(dict.fromkeys(names, 50.0)),
        "B": record({name: float(number) for number, name in enumerate(names)}),
    }
    shown = select_differing_categories(runs)
    assert len(shown) == 30 and "category 50" not in shown
    assert shown["category 99"] == {"A": [50], "B": [99]} and next(iter(shown)) == "category 99"
