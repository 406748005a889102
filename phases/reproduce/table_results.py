"""The results of a table's runs so far, read once from their folders."""

from dataclasses import dataclass
from typing import Any

from experiments.table import Column, Table
from phases.reproduce.runs import Run, get_chance, get_metric

Values = dict[int, float]  # seed -> value in percent, of runs that have it


@dataclass(frozen=True)
class RunResult:
    """A run with its records of result.json by the labels of the columns; none before its tests."""

    run: Run
    records: dict[str, dict[str, Any]]
    has_diverged: bool

    @property
    def machine(self) -> dict[str, Any]:
        """The hardware of the training; empty before the first test."""
        for record in self.records.values():
            return record["training_machine"]
        return {}

    def get_value(self, column: Column) -> float | None:
        """The value of `column` in percent; None if it is not there yet or not defined for this run."""
        record = self.records.get(column.label)
        return None if record is None else get_metric(record, column.metric)


@dataclass(frozen=True)
class TableResults:
    """What the runs of a table have so far.

    `values` are by the labels of row and column, then by seed; `chance`, by the labels of the columns where
    it is known, is the value of photos in random order; both are in percent. `num_diverged` is by row.
    `counts` are the numbers of categories and images, None before the first test.
    """

    table: Table
    runs: list[RunResult]
    values: dict[str, dict[str, Values]]
    chance: dict[str, float]
    num_diverged: dict[str, int]
    counts: dict[str, int] | None

    @property
    def is_zero_shot(self) -> bool:
        """Whether there are categories that were not trained on."""
        return self.counts is not None and self.counts["trained_categories"] < self.counts["categories"]


def read_results(table: Table, runs: list[Run]) -> TableResults:
    """Read the folders of the `runs` of `table`. Raises UserError if one has other options."""
    results = [RunResult(run, run.read_records(table.columns), run.has_diverged) for run in runs]
    values, num_diverged = {}, {}
    for row in table.rows:
        row_results = [result for result in results if result.run.row == row]
        values[row.label] = {column.label: collect_values(row_results, column) for column in table.columns}
        num_diverged[row.label] = sum(result.has_diverged for result in row_results)
    chance = {}
    for column in table.columns:
        value = find_chance(results, column)
        if value is not None:
            chance[column.label] = value
    counts = next((record["counts"] for result in results for record in result.records.values()), None)
    return TableResults(table, results, values, chance, num_diverged, counts)


def collect_values(results: list[RunResult], column: Column) -> Values:
    values = {}
    for result in results:
        value = result.get_value(column)
        if value is not None:
            values[result.run.config.seed] = value
    return values


def find_chance(results: list[RunResult], column: Column) -> float | None:
    """The chance of `column`, from the first run that has it: all are tested on the same lists."""
    for result in results:
        if column.label in result.records:
            chance = get_chance(result.records[column.label], column.metric)
            if chance is not None:
                return chance
    return None
