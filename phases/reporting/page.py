"""The page of one run's report: its record and its figures as HTML (its sections: sections.py)."""

from collections.abc import Mapping
from pathlib import Path

from phases.reporting import sections
from phases.reporting.record import Record
from phases.settings import is_used
from utils.page import Html, Section, document, element, folded, paragraph, table, warning

HASHED = ("32", "64", "128")  # lengths of published codes


def page(record: Record, figures: Mapping[str, Path]) -> str:
    """The HTML of one run."""
    content = [
        Section("figures", "Figures of the test", test_figures(record)),
        Section("training", "Training", sections.training(record, figures)),
        Section("curves", "Precision and recall", sections.curves(record, figures)),
        Section("categories", "Categories", sections.categories(record, figures)),
        Section("queries", "Best and worst queries", sections.queries(record, figures)),
        Section("confusion", "Confusion between categories", sections.confusion(record, figures)),
        Section("map", "Map of the features", sections.feature_map(record, figures)),
        Section("distances", "Distances inside and between categories", sections.distances(record, figures)),
        Section("hash", "Hash codes", sections.hash_codes(record, figures)),
        Section("bit", "What the domain bit does", sections.domain_bit(record, figures)),
        Section("made", "What this was made with", made_with(record)),
    ]
    return document(f"Report of {record['run']}", [paragraph(summary(record)), *problems(record)], content)


def summary(record: Record) -> str:
    """What was tested, in a sentence."""
    counts, options = record["counts"], record["options"]
    unseen = counts["categories"] - counts["trained_categories"]
    loss = options["loss_type"] + (f", margin {options['margin']:g}" if options["margin"] is not None else "")
    return (
        f"Step {record['step']:,} of {options['network']} ({options['attention']}, {options['f_dim']} "
        f"features, {loss}) on {record['dataset']}: {counts['queries']:,} test sketches against "
        f"{counts['gallery']:,} photos of {counts['categories']} categories"
        f"{f', {unseen} of them unseen in training' if unseen else ''}, by {record['distance']} distance, "
        f"mirror images {record['mirror']}. MAP {record['metrics']['MAP']:.1f} percent."
    )


def problems(record: Record) -> list[Html]:
    """What a reader must know first: figures that are not those of result.json, queries left out."""
    found = [
        warning(
            f"{record['run']}: {name} is {each['here']:.4f} here and {each['result.json']:.4f} in "
            "log/result.json, which was made by other versions, on another device, or of other images."
        )
        for name, each in (record["differs_from_result_json"] or {}).items()
    ]
    without = record["counts"]["queries_without_positives"]
    if without:
        found.append(
            warning(f"{record['run']}: {without:,} test sketches have no photo of their category: left out.")
        )
    if not record["training_options"]:
        found.append(
            warning(
                f"{record['run']}: the checkpoint does not say which lists it was trained with; if they are "
                "not these, it was tested on sketches that it has seen."
            )
        )
    return found


def test_figures(record: Record) -> list[Html]:
    definitions = record["definitions"]
    rows = [(name, value, definitions.get(name, "")) for name, value in record["metrics"].items()]
    rows += [(f"hash MAP, {bits} bits", value, definitions["hash"]) for bits, value in record["hash"].items()]
    content = [
        table(["figure", "percent", "definition"], rows),
        paragraph(f"Gallery: {definitions['gallery']}. Ties: {definitions['ties']}."),
    ]
    if record["differs_from_result_json"] is None:
        content.append(paragraph("log/result.json has no record of this test: --phase=test writes it."))
    elif not record["differs_from_result_json"]:
        content.append(paragraph("Computed from the features once more, and equal to log/result.json."))
    return [*content, *published(record)]


def published(record: Record) -> list[Html]:
    """Figures printed elsewhere, empty where they are not known, or why there are none."""
    known = record["published"]
    if "missing" in known:
        return [paragraph(known["missing"])]
    header = ["method", "MAP", *(f"hash MAP, {bits} bits" for bits in HASHED), "source"]
    rows = [
        [each["method"], *(each.get(column) for column in ("MAP", *HASHED)), each["source"]]
        for each in known["rows"]
    ]
    here = f"this test: {record['counts']['gallery']:,} photos"
    return [
        element("h3", "Published figures"),
        paragraph(f"In percent, of {known['of']} ({here}); empty where not at hand."),
        table(header, rows),
    ]


def made_with(record: Record) -> list[Html]:
    """Options, versions, revision and lists: what the figures depend on."""
    facts = {
        "checkpoint": record["checkpoint"],
        "lists (SHA-256)": record["lists"],
        "seed": record["seed"],
        "revision of the program": record["revision"],
        **record["versions"],
    }
    options = {
        name: shown(value)
        for name, value in sorted(record["options"].items())
        if is_used(name, record["options"]["loss_type"])
    }
    return [
        table(["what", "value"], facts.items()),
        folded("All options", table(["option", "value"], options.items())),
        paragraph("All numbers of this page, with their definitions, are in report.json beside it."),
    ]


def shown(value: object) -> str:
    """An option's value as text, empty for one that was not given."""
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "" if value is None else str(value)
