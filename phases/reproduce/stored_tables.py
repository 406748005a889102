"""Rewrite tables from their own JSON, when the runs behind them are no longer available.

python -m phases.reproduce.stored_tables docs/tables docs/tables/longer docs/tables/sketchy125

rewrites every table in these folders. Values, options and versions stay as they are in the JSON. The
text around them is rewritten: how the protocol differs from the published one, and the published numbers.
Rows that the table got later are left out.
"""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experiments import load_table
from experiments.table import Column, Table
from phases.reproduce.runs import Run, plan_runs
from phases.reproduce.tables import write_files
from run.config import config_from_stored
from run.provenance import provenance
from utils.errors import UserError
from utils.files import read_json, write_json

COUNTS = re.compile(
    r"\((?P<categories>\d+) categories(?:, (?P<unseen>\d+) of them unseen)?, (?P<queries>\d+) test sketches "
    r"against (?P<gallery>\d+) photos\)"
)


@dataclass(frozen=True)
class StoredRun(Run):
    """A run whose results are read from the `content` of its table's JSON."""

    content: dict[str, Any]

    def read_records(self, columns: Sequence[Column]) -> dict[str, dict[str, Any]]:
        counts = read_counts(self.content["protocol"])
        if counts is None:
            return {}
        records = {}
        for column in columns:
            value = self.content["values"][self.row.label][column.label].get(str(self.config.seed))
            if value is not None:
                chance = self.content["chance"].get(column.label)
                kind, _, name = column.metric.partition(" ")
                # only what get_metric, get_chance and a table read
                records[column.label] = {
                    "counts": counts,
                    "lists": "",
                    "training_machine": self.find_machine(),
                    "chance": {} if chance is None else {"MAP" if kind == "hash" else column.metric: chance},
                    "metrics": {column.metric: value},
                    "hash": {name: {"MAP": value}},
                    "margin_condition": {name: {kind: value}},
                }
        return records

    def find_machine(self) -> dict[str, Any]:
        """The hardware of the training; empty in the tables of docs/tables/random, which do not state it."""
        for run in self.content["runs"]:
            if (run["row"], run["seed"]) == (self.row.label, self.config.seed):
                return run.get("machine", {})
        return {}

    @property
    def has_diverged(self) -> bool:
        """The JSON has only the number of diverged seeds of each row: they are the seeds without a value."""
        values = self.content["values"][self.row.label].values()
        has_value = any(str(self.config.seed) in by_seed for by_seed in values)
        return bool(self.content["diverged"][self.row.label]) and not has_value


def read_counts(protocol: list[str]) -> dict[str, int] | None:
    """The numbers that the first sentence of a protocol states, by the names of result.json."""
    match = COUNTS.search(" ".join(protocol))
    if match is None:
        return None
    counts = {name: int(value or 0) for name, value in match.groupdict().items()}
    unseen = counts.pop("unseen")
    return {**counts, "trained_categories": counts["categories"] - unseen}


def select_stored_rows(table: Table, content: dict[str, Any], path: Path) -> Table:
    """`table` with only the rows that its JSON has. Raises UserError if the JSON has others."""
    rows = tuple(row for row in table.rows if row.label in content["values"])
    if content["values"].keys() != {row.label for row in rows}:
        raise UserError(f"{path} has other rows than the table {content['table']} has today")
    return replace(table, rows=rows)


def rewrite(path: Path) -> None:
    """Rewrite the table whose JSON is at `path`. Raises UserError if its rows are not today's."""
    content = read_json(path)
    name = content["table"]
    table = select_stored_rows(load_table(name), content, path)
    # the options of docs/tables/random do not have a hash gradient: it was the identity
    config = config_from_stored({"hash_gradient": "identity", **content["options"]})
    runs: list[Run] = [StoredRun(run.row, run.config, content) for run in plan_runs(name, table, config)]
    folders = {(run.row.label, run.config.seed): str(run.folder) for run in runs}
    if folders != {(run["row"], run["seed"]): run["folder"] for run in content["runs"]}:
        raise UserError(f"the runs in {path} have other folders than the same options give today")
    write_files(path.with_suffix(".md"), name, table, runs, config)
    # this process made the text, not the values: their options, versions and machine stay
    names = provenance(config).keys()
    rewritten = {key: value for key, value in read_json(path).items() if key not in names}
    kept = {key: value for key, value in content.items() if key in names}
    write_json(path, {**rewritten, **kept})


def main(folders: list[str]) -> None:
    for folder in folders:
        for path in sorted(Path(folder).glob("*.json")):
            rewrite(path)


if __name__ == "__main__":
    main(sys.argv[1:])
