"""The model card's results: what log/result.json of the run says about these very weights."""

import argparse
from typing import Any

from phases import results, settings
from phases.trained import Weights

WEAKEST = 3  # categories that are named
BAR = "\\|"


def records_of(options: argparse.Namespace, source: Weights) -> list[dict[str, Any]]:
    """The records of the checkpoint's step, one per distance and mirror rule.

    Those of another training are left out: of other options, other lists or another kind of input.
    """
    path = settings.run_folder(options) / "log" / "result.json"
    return [
        each
        for each in results.read_records(path)
        if each["step"] == source.step
        and each.get("training_options", source.options) == source.options
        and source.lists in ("", each["lists"])
        and all(
            each["options"].get(name, getattr(options, name)) == getattr(options, name)
            for name in settings.NETWORK_OPTIONS
        )
    ]


def results_section(source: Weights, records: list[dict[str, Any]]) -> str:
    if not records:
        return f"Step {source.step} has not been tested: there are no figures for it."
    counts, by_category = records[0]["counts"], records[0]["per_category_MAP"]
    weakest = sorted(by_category, key=lambda name: by_category[name])[:WEAKEST]
    meanings = {name: text for each in records for name, text in each["definitions"].items()}
    return "\n\n".join(
        [
            f"In percent, over {counts['queries']:,} test sketches and {counts['gallery']:,} photos, as "
            "`log/result.json` of the run has them: of the checkpoint, tested in PyTorch.",
            figures(records),
            "\n".join(f"- {name}: {text}" for name, text in meanings.items()),
            "Lowest MAP of a category: "
            + ", ".join(f"{name} {by_category[name]:.1f}" for name in weakest)
            + ".",
        ]
    )


def figures(records: list[dict[str, Any]]) -> str:
    """A row per record, and one of chance; where a record lacks a figure, its cell is empty."""
    names = list(dict.fromkeys(name for each in records for name in each["metrics"]))
    lengths = sorted({length for each in records for length in each["hash"]}, key=int)
    rows = []
    for each in records:
        values = [each["metrics"].get(name) for name in names]
        values += [each["hash"].get(length, {}).get("MAP") for length in lengths]
        shown = ["" if value is None else f"{value:.3f}" for value in values]
        rows.append([each["distance"], each.get("mirror", "on"), *shown])
    chance = next((each["chance"] for each in records if "chance" in each), None)  # the same for all
    if chance:
        values = [chance.get(name) for name in names] + [chance["MAP"]] * len(lengths)
        rows.append(["chance", "", *("" if value is None else f"{value:.3f}" for value in values)])
    return table(["distance", "mirror", *names, *(f"hash MAP, {length} bits" for length in lengths)], rows)


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; bars in cells are escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', BAR) for cell in line)} |" for line in lines)
