"""--phase=report: tables of experiments from the runs that are finished; nothing is trained.

Every figure is the mean over seeds with the sample standard deviation; single values are in the CSV and in
the figure. Written to logs/<save_path>/tables/ as Markdown, CSV, JSON and PNG.
"""

import csv
import io
import logging
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from datasets import dataset_facts
from experiments import TABLES, load_table
from experiments.table import Column, Table
from phases.reproduce.runs import Run, chance, metric_value, plan_runs
from run.config import Config, published_recipe
from run.plots import save_table
from run.provenance import provenance
from run.results import compare_with_chance
from run.words import in_words
from utils.errors import UserError
from utils.files import remove_stale_temporaries, write_json, write_text
from utils.hardware import describe_machine
from utils.locks import wait_for_folder_lock
from utils.runs import describe_runs

log = logging.getLogger(__name__)

Found = dict[str, dict[str, dict[int, float]]]  # row -> column -> seed -> value, finished ones alone


def run(config: Config) -> None:
    """Write the tables of --table, by default every one that has a finished run."""
    names = config.tables.table or sorted(TABLES)
    log.info(
        "tables of the runs below %s on %s: %s",
        config.folder,
        config.data.dataset,
        ", ".join(names) if config.tables.table else "all that have a finished run",
    )
    written = 0
    for name in names:
        table = load_table(name)
        try:
            runs = plan_runs(name, table, config)
        except UserError as error:  # options that make no sense for a table nobody asked for
            if config.tables.table:
                raise
            log.info("no table %s: %s", name, error)
            continue
        check_lists(table, runs)
        if config.tables.table or any(each.records(table.columns) for each in runs):
            log.info("table in %s", write(name, table, runs, config))
            written += 1
    if not written:
        raise UserError(
            f"no finished run of any table below {config.folder.absolute()}; make some with "
            "--phase=reproduce --table=... and the same other options, or name a run with a checkpoint: "
            + describe_runs(config.save_path)
        )


def write(name: str, table: Table, runs: list[Run], config: Config) -> Path:
    """Write the table `name` from what its `runs` have found so far; returns the Markdown's path.

    Several processes may be at work on one table: the last one has what all of them found.
    """
    folder = config.folder / "tables"
    with wait_for_folder_lock(folder):
        remove_stale_temporaries(folder)
        return write_found(folder / f"{name}.md", name, table, runs, config)


@dataclass(frozen=True)
class Result:
    """What the folder of a run has, read once: its records of result.json by the labels of the columns."""

    run: Run
    records: dict[str, dict[str, Any]]
    diverged: bool

    @property
    def machine(self) -> dict[str, Any]:
        """What the training ran on; empty where that is not known."""
        return next((each["training_machine"] for each in self.records.values()), {})

    def value(self, column: Column) -> float | None:
        """The value of `column` in percent, None if it is not there yet, or not defined for this run."""
        record = self.records.get(column.label)
        return None if record is None else metric_value(record, column.metric)


def write_found(path: Path, name: str, table: Table, runs: list[Run], config: Config) -> Path:
    """What `write` does, in a folder that is this process's own."""
    results = [Result(each, each.records(table.columns), bool(each.diverged)) for each in runs]
    found: Found = {
        row.label: {
            column.label: {
                each.run.config.seed: value
                for each in results
                if each.run.row == row and (value := each.value(column)) is not None
            }
            for column in table.columns
        }
        for row in table.rows
    }
    diverged = {
        row.label: sum(each.diverged for each in results if each.run.row == row) for row in table.rows
    }
    records = [record for each in results for record in each.records.values()]
    protocol = describe_protocol(table, runs, config, records[0]["counts"] if records else None)
    machines = sorted({describe_machine(each.machine) for each in results if each.machine})
    if machines:
        protocol.append(f"Trained on {', and on '.join(machines)}.")
    expected = chances(table, results)
    zero_shot = any(map(is_zero_shot, records))
    write_text(path, markdown(table, found, expected, diverged, protocol, config, zero_shot=zero_shot))
    write_text(path.with_suffix(".csv"), as_csv(table, results, expected, config))
    write_json(
        path.with_suffix(".json"),
        {
            "table": name,
            "protocol": protocol,
            "values": found,
            "chance": expected,
            "diverged": diverged,
            "runs": [
                {
                    "row": each.run.row.label,
                    "seed": each.run.config.seed,
                    "folder": str(each.run.folder),
                    **({"machine": each.machine} if each.machine else {}),
                }
                for each in results
            ],
            **provenance(config),
        },
    )
    columns = [each.label for each in table.columns if each.metric == "MAP" or each.metric.startswith("hash")]
    save_table(
        {
            label: {column: list(values[column].values()) for column in columns}
            for label, values in found.items()
        },
        {column: expected[column] for column in columns if column in expected},
        path.with_suffix(".png"),
        title=f"{table.title}\n{describe_briefly(table, records, config)}",
    )
    return path


def chances(table: Table, results: list[Result]) -> dict[str, float]:
    """What photos in random order have, in percent, by column: all runs are tested on the same lists."""
    expected = {}
    for column in table.columns:
        for each in results:
            record = each.records.get(column.label)
            value = None if record is None else chance(record, column.metric)
            if value is not None:
                expected[column.label] = value
                break
    return expected


def is_zero_shot(record: dict[str, Any]) -> bool:
    return record["counts"]["trained_categories"] < record["counts"]["categories"]


def check_lists(table: Table, runs: list[Run], lists: str | None = None) -> None:
    """Raise UserError if finished runs are of several splits of the data, or of others than `lists`."""
    digests = {record["lists"] for each in runs for record in each.records(table.columns).values()}
    digests |= {lists} if lists else set()
    if len(digests) > 1:
        raise UserError(
            f"runs of the table {table.title!r} were made with several annotation lists (--anno_path); each "
            "needs a --save_path of its own"
        )


def describe_protocol(
    table: Table, runs: list[Run], config: Config, counts: dict[str, int] | None = None
) -> list[str]:
    """What was run, and where that differs from the published program's recipe, as sentences."""
    size = ""
    differing = []
    if counts is not None:
        unseen = counts["categories"] - counts["trained_categories"]
        size = f" ({counts['categories']} categories{f', {unseen} of them unseen' if unseen else ''}, "
        size += f"{counts['queries']} test sketches against {counts['gallery']} photos)"
        published = dataset_facts(config.data.dataset).categories
        if published not in (None, counts["categories"]):
            differing.append(f"{counts['categories']} categories (published {published})")
    sentences = [
        f"Data: {config.data.dataset}{size}.",
        describe_recipe(differing + differences_to_published(table, runs)),
    ]
    has_codes = any(column.metric.startswith("hash") for column in table.columns)
    if has_codes and config.test.hash_gradient == "identity":
        sentences.append("Hash codes were fitted with the identity in place of the published gradient.")
    return sentences


def describe_briefly(table: Table, records: list[dict[str, Any]], config: Config) -> str:
    """The protocol in a line or two for the title of a picture; what rows set for themselves is left out."""
    set_by_rows = {name for row in table.rows for name in row.options}
    parts = {
        "network": in_words(config.network.network),
        "image_size": f"{config.input.image_size} px",
        "num_steps": f"{config.train.num_steps:,} steps",
        "batch_size": f"{config.data.batch_size} + {config.data.batch_size} images a step",
    }
    recipe = ", ".join(text for name, text in parts.items() if name not in set_by_rows)
    if not records:
        return f"{in_words(config.data.dataset)}; {recipe}"
    counts = records[0]["counts"]
    sizes = "{categories:,} categories, {queries:,} test sketches, {gallery:,} photos".format(**counts)
    return f"{in_words(config.data.dataset)}: {sizes}\n{recipe}"


def describe_recipe(differing: list[str]) -> str:
    if not differing:
        return "The published program's recipe, but for what the rows vary."
    return f"A reduced protocol, not the published program's: {', '.join(differing)}."


def differences_to_published(table: Table, runs: list[Run]) -> list[str]:
    """Each option that no row sets and that differs from the published value, with its rows if not of all."""
    set_by_rows = {name for row in table.rows for name in row.options}
    rows_of: dict[str, dict[tuple[Any, Any], dict[str, None]]] = {}  # option -> (own, published) -> rows
    for each in runs:
        for name, usual in published_recipe(each.config).items():
            if name not in set_by_rows:
                values = rows_of.setdefault(name, {}).setdefault((each.config.value(name), usual), {})
                values[each.row.label] = None  # a dict keeps the order of the rows
    return [
        f"{name} {own} (published {usual})" + (f" for {' and '.join(rows)}" if len(values) > 1 else "")
        for name, values in rows_of.items()
        for (own, usual), rows in values.items()
        if own != usual
    ]


def markdown(
    table: Table,
    found: Found,
    expected: dict[str, float],
    diverged: dict[str, int],
    protocol: list[str],
    config: Config,
    *,
    zero_shot: bool,
) -> str:
    """The table as Markdown, published figures (of seen categories) below its own rows."""
    lines = [f"## {table.title}", "", table.question, "", " ".join(protocol), ""]
    first, last = config.seed, config.seed + config.tables.seeds - 1
    several = f"Mean and sample standard deviation over seeds {first} to {last}"
    lines += [f"{several if last > first else f'Seed {first}'}, in percent.", ""]
    header = ["", *(column.label for column in table.columns), "seeds"]
    lines += [joined(header), joined(["---"] * len(header))]
    for row in table.rows:
        label, values = row.label, found[row.label]
        cells = [mean_and_spread(list(values[column.label].values())) for column in table.columns]
        count = max(map(len, values.values()))
        note = f"{count} of {config.tables.seeds}" if count < config.tables.seeds else str(count)
        lines.append(
            joined([label, *cells, note + (f", {diverged[label]} diverged" * bool(diverged[label]))])
        )
    if expected:
        cells = [shown(expected.get(column.label)) for column in table.columns]
        lines.append(joined(["*chance*", *cells, ""]))
    elsewhere = [each for each in table.published if config.data.dataset in each.values and not zero_shot]
    for each in elsewhere:
        cells = [shown(each.values[config.data.dataset].get(column.label)) for column in table.columns]
        lines.append(joined([f"*{each.label}*", *cells, ""]))
    lines += at_chance(table, found, expected)
    sources = sorted({f"{each.source}" for each in elsewhere})
    if sources:
        lines += [
            "",
            "In italics, printed elsewhere, of the full data set, empty where unknown: "
            f"{'; '.join(sources)}.",
        ]
    if config.tables.seeds > 1:
        lines += ["", *differences(table, found)]
    return "\n".join(lines) + "\n"


def at_chance(table: Table, found: Found, expected: dict[str, float]) -> list[str]:
    """What chance is, and which cells are not above it, or hardly."""
    if not expected:
        return []
    lines = ["", "chance: photos in random order."]
    for column in table.columns:
        if column.label not in expected:
            continue
        by_verdict: dict[str, list[str]] = {}
        for row in table.rows:
            values = found[row.label][column.label].values()
            verdict = compare_with_chance(fmean(values), expected[column.label]) if values else None
            if verdict:
                by_verdict.setdefault(verdict, []).append(f"“{row.label}”")
        lines += [
            f"**{verdict[0].upper()}{verdict[1:]}** in the column {column.label}: {', '.join(labels)}."
            for verdict, labels in by_verdict.items()
        ]
    return lines


def differences(table: Table, found: Found) -> list[str]:
    """How far the rows are from the first one, seed by seed: a seed fixes the batches of all rows."""
    first, *others = table.rows
    lines = [f"Difference to the row “{first.label}”, seed by seed, mean and sample standard deviation:", ""]
    header = ["", *(column.label for column in table.columns)]
    lines += [joined(header), joined(["---"] * len(header))]
    for row in others:
        cells = []
        for column in table.columns:
            own, base = found[row.label][column.label], found[first.label][column.label]
            cells.append(mean_and_spread([own[seed] - base[seed] for seed in own if seed in base], sign="+"))
        lines.append(joined([row.label, *cells]))
    return lines


def joined(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def mean_and_spread(values: list[float], sign: str = "") -> str:
    if not values:
        return ""
    mean = f"{fmean(values):{sign}.1f}"
    return f"{mean} ± {stdev(values):.1f}" if len(values) > 1 else mean


def shown(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def as_csv(table: Table, results: list[Result], expected: dict[str, float], config: Config) -> str:
    """One line per row, seed and column, then chance, and the published figures with their source."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", "column", "seed", "value", "source"])
    for each in results:
        run = each.run
        for column in table.columns:
            value = each.value(column)
            precise = "" if value is None else f"{value:.6f}"
            writer.writerow([run.row.label, column.label, run.config.seed, precise, str(run.folder)])
    for label, value in expected.items():
        writer.writerow(["chance", label, "", f"{value:.6f}", "photos in random order"])
    for published in table.published:
        for label, known in published.values.get(config.data.dataset, {}).items():
            writer.writerow([published.label, label, "", "" if known is None else known, published.source])
    return text.getvalue()
