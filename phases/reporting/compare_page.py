"""The page that compares runs: their records and figures as HTML."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phases.reporting import compare_sections as sections
from phases.reporting.compare_figures import published_rows
from phases.reporting.page import HASHED, problems, shown, summary
from phases.reporting.record import Record
from phases.runs import MADE_WITH
from phases.settings import is_used
from utils.page import (
    Html,
    Section,
    document,
    element,
    folded,
    joined,
    paragraph,
    picture,
    pictures,
    table,
    warning,
)

Records = dict[str, Record]  # by letter
Figures = Mapping[str, Path]

OF_TESTS = ("test_distance", "mirror", "hash_bits", "anno_path", "data_path")
UNSAID = "not said"


def page(records: Records, figures: Figures, unlike: list[str]) -> str:
    """The HTML of several runs; `unlike` says why they do not compare."""
    content = [
        Section("figures", "Figures side by side", test_figures(records, figures, comparable=not unlike)),
        Section("options", "What the runs differ in", differences(records)),
        Section("training", "Training", sections.training(records, figures)),
        Section("curves", "Precision and recall", sections.curves(records, figures)),
        Section("categories", "Categories", sections.categories(records, figures)),
        Section("hash", "Hash codes", sections.hash_codes(records, figures)),
        Section("confusion", "Confusion between categories", sections.confusion(records, figures)),
        Section("map", "Maps of the features", sections.maps(records, figures)),
        Section("distances", "Distances inside and between categories", sections.distances(records, figures)),
        Section("bit", "What the domain bit does", sections.domain_bit(records, figures)),
        Section("made", "What this was made with", made_with(records)),
    ]
    runs = [
        element("li", f"{letter}: {record['run']}. {summary(record)}") for letter, record in records.items()
    ]
    warnings = [warning(line[0].upper() + line[1:] + ".") for line in unlike]
    warnings += [each for record in records.values() for each in problems(record)]
    title = "Comparison of " + ", ".join(record["run"] for record in records.values())
    return document(title, [element("ul", joined(runs)), *warnings], content)


def test_figures(records: Records, figures: Figures, *, comparable: bool) -> list[Html]:
    """A table and a chart of all runs and of what is published, with definitions."""
    first = next(iter(records.values()))
    elsewhere = published_rows(records)
    if elsewhere:
        sources = sorted({each["source"] for each in elsewhere})
        photos = ", ".join(f"{letter} {record['counts']['gallery']:,}" for letter, record in records.items())
        note = (
            f"In percent. Published figures are of {first['published']['of']} (photos here: {photos}), empty "
            f"where not at hand: {'; '.join(sources)}."
        )
    else:
        note = "In percent." + (f" {first['published'].get('missing', '')}" if comparable else "")
    metrics = first["metrics"]
    definitions = [(name, first["definitions"].get(name, "")) for name in metrics]
    definitions += [("hash MAP", first["definitions"]["hash"]), ("ties", first["definitions"]["ties"])]
    gallery = sorted({record["definitions"]["gallery"] for record in records.values()})
    chart = picture(
        figures["overview"],
        "MAP of the runs by features and by hash codes" + (", and published ones" if elsewhere else ""),
        "MAP by the features themselves, and by hash codes of so many bits.",
    )
    return [
        side_by_side(records),
        paragraph(note),
        pictures(chart),
        folded("Definitions", table(["figure", "definition"], definitions)),
        paragraph(f"Gallery: {'; or: '.join(gallery)}."),
    ]


def side_by_side(records: Records) -> Html:
    """A row for each run and each published method; empty where nothing is known."""
    elsewhere = published_rows(records)
    metrics = list(dict.fromkeys(name for record in records.values() for name in record["metrics"]))
    lengths = {name for record in records.values() for name in record["hash"]}
    bits = sorted(lengths | set(HASHED if elsewhere else ()), key=int)
    rows: list[list[Any]] = [
        [
            letter,
            record["run"],
            record["step"],
            *(record["metrics"].get(name) for name in metrics),
            *(record["hash"].get(name) for name in bits),
        ]
        for letter, record in records.items()
    ]
    for each in elsewhere:
        values = [each.get(name) if name == "MAP" else None for name in metrics]
        rows.append(["published", each["method"], None, *values, *(each.get(name) for name in bits)])
    hashes = [f"hash MAP, {name} bits" for name in bits]
    return table(["run", "name", "step", *metrics, *hashes], rows)


def differences(records: Records) -> list[Html]:
    """The options that differ; a published checkpoint does not say how it was trained."""

    def of(record: Record, name: str) -> str:
        said = record["training_options"] or name in OF_TESTS
        recognised = ("dataset", "network", "attention", "f_dim", "loss_type")
        if not is_used(name, record["options"]["loss_type"]):
            return ""
        return shown(record["options"][name]) if said or name in recognised else UNSAID

    values = {
        name: [of(record, name) for record in records.values()]
        for name in dict.fromkeys((*MADE_WITH, *OF_TESTS))
    }
    rows = [["step", *(record["step"] for record in records.values())]]
    rows += [[name, *found] for name, found in values.items()]
    rows = [row for row in rows if len(set(row[1:])) > 1]
    if not rows:
        return [paragraph("In no option that training or test depends on.")]
    return [
        table(["option", *records], rows),
        paragraph("All other options of training and test are the same."),
    ]


def made_with(records: Records) -> list[Html]:
    header = ["what", *records]
    rows = [
        [name, *(record[name] for record in records.values())] for name in ("run", "checkpoint", "images")
    ]
    rows.append(["lists (SHA-256)", *(record["lists"][:12] for record in records.values())])
    first = next(iter(records.values()))  # all were tested by this one process
    versions = {"program": first["revision"], **first["versions"]}
    return [
        table(header, rows),
        paragraph(
            "Tested once more by: " + ", ".join(f"{name} {each}" for name, each in versions.items()) + "."
        ),
        paragraph(
            "All numbers of this page, with their definitions and options, are in report.json beside it."
        ),
    ]
