"""Variants in turns, medians, ratios and memory; no test of how fast anything is."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import measure
from benchmarks.measure import Variant, compare, measure_peak_memory


def test_variants_run_in_turns_and_medians_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    variants = [
        Variant("plain", lambda: order.append("plain"), 2, "baseline"),
        Variant("fast", lambda: order.append("fast"), 4),
    ]
    answers = iter([10.0, 4.0, 30.0, 8.0, 20.0, 400.0])  # a busy moment shall not count

    def return_next_time(run) -> float:
        run()
        return next(answers)

    monkeypatch.setattr(measure, "time_run", return_next_time)
    result = compare(variants, unit="query", repeats=3)
    assert order == ["plain", "fast"] * 5  # to warm up, for the memory, and three times for the time
    plain, fast = result["variants"]
    assert plain["seconds_per_query"] == 10 and fast["seconds_per_query"] == 2
    assert fast["times_the_baseline"] == 5 and fast["runs"] == [1, 2, 100]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux alone says the peak")
def test_peak_memory_is_that_of_the_run() -> None:
    held = np.ones(20 * 2**20, dtype=np.uint8)
    result = measure_peak_memory(lambda: np.ones(50 * 2**20, dtype=np.uint8))
    assert result == pytest.approx(50, abs=10) and held.all()
