"""The protocol of a table in words: its data, and where its recipe differs from the published program's."""

from typing import Any

from datasets import dataset_facts
from experiments.table import Table
from phases.reproduce.runs import Run
from run.config import Config, published_recipe
from run.words import get_display_name


def describe_protocol(
    table: Table, runs: list[Run], config: Config, counts: dict[str, int] | None = None
) -> list[str]:
    """The protocol as sentences. `counts` are of a record of result.json, None if there is none yet."""
    size = ""
    differences = list_differences(table, runs)
    if counts is not None:
        categories = counts["categories"]
        unseen = categories - counts["trained_categories"]
        size = f" ({categories} categories{f', {unseen} of them unseen' if unseen else ''}, "
        size += f"{counts['queries']} test sketches against {counts['gallery']} photos)"
        published = dataset_facts(config.data.dataset).categories
        if published not in (None, categories):
            differences.insert(0, f"{categories} categories (published {published})")
    sentences = [f"Data: {config.data.dataset}{size}."]
    if differences:
        sentences.append(f"A reduced protocol, not the published program's: {', '.join(differences)}.")
    else:
        sentences.append("The published program's recipe, but for what the rows vary.")
    has_codes = any(column.metric.startswith("hash") for column in table.columns)
    if has_codes and config.test.hash_gradient == "identity":
        sentences.append("Hash codes were fitted with the identity in place of the published gradient.")
    return sentences


def list_differences(table: Table, runs: list[Run]) -> list[str]:
    """Options with another value than the published one, except those that rows set.

    A value that not all rows have is followed by the rows that have it.
    """
    set_by_rows = list_row_options(table)
    # option -> (own value, published value) -> labels of rows; the dict without values keeps their order
    rows_by_values: dict[str, dict[tuple[Any, Any], dict[str, None]]] = {}
    for run in runs:
        for name, published in published_recipe(run.config).items():
            if name not in set_by_rows:
                values = (run.config.value(name), published)
                rows_by_values.setdefault(name, {}).setdefault(values, {})[run.row.label] = None
    differences = []
    for name, rows_of in rows_by_values.items():
        for (own, published), rows in rows_of.items():
            if own != published:
                suffix = f" for {' and '.join(rows)}" if len(rows_of) > 1 else ""
                differences.append(f"{name} {own} (published {published}){suffix}")
    return differences


def list_row_options(table: Table) -> set[str]:
    """The training options that a row of the table sets."""
    return {option for row in table.rows for option in row.options}


def describe_briefly(table: Table, config: Config, counts: dict[str, int] | None) -> str:
    """The protocol in a line or two for the title of a plot, without the options that rows set."""
    set_by_rows = list_row_options(table)
    parts = {
        "network": get_display_name(config.network.network),
        "image_size": f"{config.input.image_size} px",
        "num_steps": f"{config.train.num_steps:,} steps",
        "batch_size": f"{config.data.batch_size} + {config.data.batch_size} images a step",
    }
    recipe = ", ".join(text for name, text in parts.items() if name not in set_by_rows)
    dataset = get_display_name(config.data.dataset)
    if counts is None:
        return f"{dataset}; {recipe}"
    size = (
        f"{counts['categories']:,} categories, {counts['queries']:,} test sketches, "
        f"{counts['gallery']:,} photos"
    )
    return f"{dataset}: {size}\n{recipe}"
