"""--phase=report: tables of experiments from the runs that are finished; nothing is trained.

Every figure is the mean over seeds with the sample standard deviation; single values are in the CSV and in
the figure. Written to logs/<save_path>/tables/ as Markdown, CSV, JSON and PNG.
"""

import argparse
import csv
import io
import logging
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from experiments import TABLES, load_table
from experiments.table import Column, Published, Table
from phases import settings
from phases.results import read_records
from phases.runs import Run, planned
from utils.errors import UserError
from utils.figures import save_dots
from utils.files import write_json, write_text

log = logging.getLogger(__name__)

# the paper's recipe (SPEC section 3): a table made otherwise says so
PAPER_RECIPE = {
    "image_size": 224,
    "batch_size": 22,
    "f_dim": 512,
    "network": "resnext101",
    "backbone_weights": "imagenet",
    "num_steps": 200_000,
    "annealing_step": 100_000,
    "lr": 1e-4,
}


def run(options: argparse.Namespace) -> None:
    """Write the tables of --table, by default every one that has a finished run."""
    settings.check_options(options)
    written = 0
    for name in options.table or sorted(TABLES):
        table = load_table(name)
        runs = planned(name, table, options)
        if options.table or any(each.value(column) is not None for each in runs for column in table.columns):
            log.info("table in %s", write(name, table, runs, options))
            written += 1
    if not written:
        raise UserError(
            f"no finished run of any table below {settings.run_folder(options)}; make some with "
            "--phase=reproduce --table=... and the same other options"
        )


def write(name: str, table: Table, runs: list[Run], options: argparse.Namespace) -> Path:
    """Write the table `name` from what its `runs` have found so far; returns the Markdown's path."""
    found = {
        row.label: {
            column.label: [
                value for each in runs if each.row == row and (value := each.value(column)) is not None
            ]
            for column in table.columns
        }
        for row in table.rows
    }  # row -> column -> one value per finished seed
    diverged = {row.label: sum(bool(each.diverged) for each in runs if each.row == row) for row in table.rows}
    protocol = describe_protocol(table, runs, options)
    path = settings.run_folder(options) / "tables" / f"{name}.md"
    write_text(path, markdown(table, found, diverged, protocol, options))
    write_text(path.with_suffix(".csv"), as_csv(table, runs, options))
    write_json(
        path.with_suffix(".json"),
        {
            "table": name,
            "protocol": protocol,
            "values": found,
            "diverged": diverged,
            "runs": [
                {"row": each.row.label, "seed": each.options.seed, "folder": str(each.folder)}
                for each in runs
            ],
            "options": settings.stored_options(options),
            "versions": settings.versions(),
        },
    )
    columns = [each.label for each in table.columns if each.metric == "MAP" or each.metric.startswith("hash")]
    save_dots(
        {label: [values[column] for column in columns] for label, values in found.items()},
        columns,
        title=f"{table.title}: {options.dataset}",
        xlabel="MAP, percent: seeds as dots, their mean as a line",
        path=path.with_suffix(".png"),
    )
    return path


def describe_protocol(table: Table, runs: list[Run], options: argparse.Namespace) -> list[str]:
    """What was run, and where that differs from the paper's recipe, as sentences."""
    counts: dict[str, Any] = next(
        (record["counts"] for each in runs for record in read_records(each.folder / "log" / "result.json")),
        {},
    )
    size = (
        f" ({counts['categories']} categories, {counts['queries']} test sketches against {counts['gallery']} "
        "photos)"
        if counts
        else ""
    )
    set_by_rows = {name for row in table.rows for name in row.options}
    other = {
        name: {getattr(each.options, name) for each in runs}
        for name in PAPER_RECIPE
        if name not in set_by_rows
    }
    differing = [
        f"{name} {' or '.join(map(str, sorted(values)))} (paper {PAPER_RECIPE[name]})"
        for name, values in other.items()
        if values != {PAPER_RECIPE[name]}
    ]
    recipe = (
        f"A reduced protocol, not the paper's: {', '.join(differing)}."
        if differing
        else "The paper's recipe."
    )
    return [f"Data: {options.dataset}{size}.", recipe]


def markdown(
    table: Table,
    found: dict[str, dict[str, list[float]]],
    diverged: dict[str, int],
    protocol: list[str],
    options: argparse.Namespace,
) -> str:
    """The table as Markdown, published figures below its own rows."""
    lines = [f"## {table.title}", "", table.question, "", " ".join(protocol), ""]
    first, last = options.seed, options.seed + options.seeds - 1
    several = f"Mean and sample standard deviation over seeds {first} to {last}"
    lines += [f"{several if last > first else f'Seed {first}'}, in percent.", ""]
    header = ["", *(column.label for column in table.columns), "seeds"]
    lines += [joined(header), joined(["---"] * len(header))]
    for label, values in found.items():
        cells = [mean_and_spread(values[column.label]) for column in table.columns]
        count = max(map(len, values.values()))
        note = f"{count} of {options.seeds}" if count < options.seeds else str(count)
        lines.append(
            joined([label, *cells, note + (f", {diverged[label]} diverged" * bool(diverged[label]))])
        )
    shown = [each for each in table.published if options.dataset in each.values]
    for each in shown:
        cells = [printed(each, column, options.dataset) for column in table.columns]
        lines.append(joined([f"*{each.label}*", *cells, ""]))
    sources = sorted({f"{each.source}" for each in shown})
    if sources:
        lines += ["", f"In italics, printed elsewhere, empty where unknown: {'; '.join(sources)}."]
    return "\n".join(lines) + "\n"


def joined(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def mean_and_spread(values: list[float]) -> str:
    if not values:
        return ""
    return f"{fmean(values):.1f} ± {stdev(values):.1f}" if len(values) > 1 else f"{values[0]:.1f}"


def printed(each: Published, column: Column, dataset: str) -> str:
    value = each.values[dataset].get(column.label)
    return "" if value is None else f"{value:.1f}"


def as_csv(table: Table, runs: list[Run], options: argparse.Namespace) -> str:
    """One line per row, seed and column, and the published figures behind them, with their source."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", "column", "seed", "value", "source"])
    for each in runs:
        for column in table.columns:
            value = each.value(column)
            shown = "" if value is None else f"{value:.6f}"
            writer.writerow([each.row.label, column.label, each.options.seed, shown, str(each.folder)])
    for published in table.published:
        for label, known in published.values.get(options.dataset, {}).items():
            writer.writerow([published.label, label, "", "" if known is None else known, published.source])
    return text.getvalue()
