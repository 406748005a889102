"""A table of experiments as Markdown and as CSV."""

import csv
import io
from collections.abc import Iterable, Sequence
from statistics import fmean, stdev

from experiments.table import Published
from phases.reproduce.table_results import TableResults
from run.config import Config
from run.results import compare_with_chance


def format_markdown(results: TableResults, protocol: list[str], config: Config) -> str:
    """The means and deviations over seeds, with chance and published values below the table's own rows."""
    table, num_seeds = results.table, config.tables.seeds
    seeds = f"Seed {config.seed}"
    if num_seeds > 1:
        last = config.seed + num_seeds - 1
        seeds = f"Mean and sample standard deviation over seeds {config.seed} to {last}"
    lines = [f"## {table.title}", "", table.question, "", " ".join(protocol), "", f"{seeds}, in percent.", ""]
    columns = [column.label for column in table.columns]
    lines += format_header(["", *columns, "seeds"])
    for label, values in results.values.items():
        cells = [format_mean(list(values[column].values())) for column in columns]
        lines.append(format_row([label, *cells, describe_seeds(results, label, num_seeds)]))
    if results.chance:
        cells = [format_value(results.chance.get(column)) for column in columns]
        lines.append(format_row(["*chance*", *cells, ""]))
    published = [] if results.is_zero_shot else select_published(table.published, config.data.dataset)
    for entry in published:
        values_by_column = entry.values[config.data.dataset]
        cells = [format_value(values_by_column.get(column)) for column in columns]
        lines.append(format_row([f"*{entry.label}*", *cells, ""]))
    if results.chance:
        lines += ["", "chance: photos in random order.", *list_rows_at_chance(results)]
    if published:
        sources = "; ".join(sorted({entry.source for entry in published}))
        lines += ["", f"In italics, printed elsewhere, of the full data set, empty where unknown: {sources}."]
    if num_seeds > 1:
        lines += ["", *format_differences(results)]
    return "\n".join(lines) + "\n"


def describe_seeds(results: TableResults, label: str, num_seeds: int) -> str:
    """How many seeds of a row are finished, as in "3" or "1 of 3, 1 diverged"."""
    count = max(len(values) for values in results.values[label].values())
    text = f"{count} of {num_seeds}" if count < num_seeds else str(count)
    if results.num_diverged[label]:
        text += f", {results.num_diverged[label]} diverged"
    return text


def select_published(published: Iterable[Published], dataset: str) -> list[Published]:
    return [entry for entry in published if dataset in entry.values]


def list_rows_at_chance(results: TableResults) -> list[str]:
    """A sentence per column for the rows whose mean is not above chance, or hardly."""
    lines = []
    for column, chance in results.chance.items():
        rows_by_verdict: dict[str, list[str]] = {}
        for label, values in results.values.items():
            if values[column]:
                verdict = compare_with_chance(fmean(values[column].values()), chance)
                if verdict:
                    rows_by_verdict.setdefault(verdict, []).append(f"“{label}”")
        for verdict, labels in rows_by_verdict.items():
            start = verdict[0].upper() + verdict[1:]
            lines.append(f"**{start}** in the column {column}: {', '.join(labels)}.")
    return lines


def format_differences(results: TableResults) -> list[str]:
    """How far the rows are from the first one, seed by seed: runs of one seed see the same batches."""
    columns = [column.label for column in results.table.columns]
    first, *others = results.values
    lines = [f"Difference to the row “{first}”, seed by seed, mean and sample standard deviation:", ""]
    lines += format_header(["", *columns])
    for label in others:
        cells = []
        for column in columns:
            own, base = results.values[label][column], results.values[first][column]
            differences = [own[seed] - base[seed] for seed in own if seed in base]
            cells.append(format_mean(differences, sign="+"))
        lines.append(format_row([label, *cells]))
    return lines


def format_header(cells: Sequence[str]) -> list[str]:
    return [format_row(cells), format_row(["---"] * len(cells))]


def format_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def format_mean(values: Sequence[float], sign: str = "") -> str:
    """The mean, and the sample standard deviation of several values; empty without values."""
    if not values:
        return ""
    mean = f"{fmean(values):{sign}.1f}"
    return f"{mean} ± {stdev(values):.1f}" if len(values) > 1 else mean


def format_value(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def format_csv(results: TableResults, config: Config) -> str:
    """A line per row, seed and column, then chance, and the published values with their source."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", "column", "seed", "value", "source"])
    for result in results.runs:
        run = result.run
        for column in results.table.columns:
            value = result.get_value(column)
            digits = "" if value is None else f"{value:.6f}"
            writer.writerow([run.row.label, column.label, run.config.seed, digits, str(run.folder)])
    for column_label, chance in results.chance.items():
        writer.writerow(["chance", column_label, "", f"{chance:.6f}", "photos in random order"])
    for entry in select_published(results.table.published, config.data.dataset):
        for column_label, known in entry.values[config.data.dataset].items():
            writer.writerow([entry.label, column_label, "", "" if known is None else known, entry.source])
    return text.getvalue()
