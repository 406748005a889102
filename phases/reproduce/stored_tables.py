"""Tables written again from their own JSON, where the runs behind them are no longer at hand.

python -m phases.reproduce.stored_tables docs/tables docs/tables/random      rewrites every table there

Values, options and versions stay as the JSON has them. What is written around them is today's: how the
protocol differs from the published one, and the published numbers beside the rows. Rows that the table got
later are left out.
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
from phases.reproduce.tables import write_found
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
    """A run as the table's JSON `content` has it: its values, and whether it diverged."""

    content: dict[str, Any]

    def records(self, columns: Sequence[Column]) -> dict[str, dict[str, Any]]:
        counts = read_counts(self.content["protocol"])
        own = (self.row.label, self.config.seed)
        machine: dict[str, Any] = next(  # those in docs/tables/random have none
            (each.get("machine", {}) for each in self.content["runs"] if (each["row"], each["seed"]) == own),
            {},
        )
        found = {}
        for column in columns:
            value = self.content["values"][self.row.label][column.label].get(str(self.config.seed))
            if value is not None and counts is not None:
                kind, _, what = column.metric.partition(" ")
                expected = self.content["chance"].get(column.label)
                found[column.label] = {
                    "counts": counts,
                    "lists": "",
                    "training_machine": machine,
                    "chance": {}
                    if expected is None
                    else {"MAP" if kind == "hash" else column.metric: expected},
                    "metrics": {column.metric: value},
                    "hash": {what: {"MAP": value}},
                    "margin_condition": {what: {kind: value}},
                }
        return found

    @property
    def diverged(self) -> bool:
        """Of a row the JSON has the number of diverged seeds: those without a value."""
        return bool(self.content["diverged"][self.row.label]) and not any(
            str(self.config.seed) in values for values in self.content["values"][self.row.label].values()
        )


def read_counts(protocol: list[str]) -> dict[str, int] | None:
    """The numbers that the first sentence of a protocol states, by the names of result.json."""
    match = COUNTS.search(" ".join(protocol))
    if match is None:
        return None
    found = {name: int(value or 0) for name, value in match.groupdict().items()}
    unseen = found.pop("unseen")
    return {**found, "trained_categories": found["categories"] - unseen}


def rows_in(table: Table, content: dict[str, Any], path: Path) -> Table:
    """`table` with the rows alone that its JSON has. Raises UserError if the JSON has others."""
    rows = tuple(row for row in table.rows if row.label in content["values"])
    if content["values"].keys() != {row.label for row in rows}:
        raise UserError(f"{path} has other rows than the table {content['table']} has today")
    return replace(table, rows=rows)


def rewrite(path: Path) -> None:
    """Write the table whose JSON lies at `path` again. Raises UserError if its rows are not today's."""
    content = read_json(path)
    table = rows_in(load_table(content["table"]), content, path)
    # those in docs/tables/random do not say their gradient: it was the identity
    config = config_from_stored({"hash_gradient": "identity", **content["options"]})
    folders = {(each["row"], each["seed"]): each["folder"] for each in content["runs"]}
    runs: list[Run] = [
        StoredRun(each.row, each.config, content) for each in plan_runs(content["table"], table, config)
    ]
    if {(each.row.label, each.config.seed): str(each.folder) for each in runs} != folders:
        raise UserError(f"{path} names other folders of runs than its options give today")
    write_found(path.with_suffix(".md"), content["table"], table, runs, config)
    made_by = provenance(config).keys()
    new = {name: value for name, value in read_json(path).items() if name not in made_by}
    write_json(path, {**new, **{name: value for name, value in content.items() if name in made_by}})


def main(folders: list[str]) -> None:
    for folder in folders:
        for path in sorted(Path(folder).glob("*.json")):
            rewrite(path)


if __name__ == "__main__":
    main(sys.argv[1:])
