"""The sections of a comparison that show figures: records by the letters of the runs, and their PNGs."""

from collections.abc import Callable, Mapping
from pathlib import Path

from phases.reporting import sections as single
from phases.reporting.compare_figures import DIFFERING
from phases.reporting.record import Record
from utils.charts import WRITTEN
from utils.page import Html, element, folded, paragraph, picture, pictures, table

Records = dict[str, Record]  # by letter
Figures = Mapping[str, Path]


def training(records: Records, figures: Figures) -> list[Html]:
    definition = next(iter(records.values()))["definitions"]["training"]
    captions = {
        "training-loss": "Loss (cross-entropy). Losses of another kind or margin do not compare.",
        "training-speed": "Training images, of both domains, per second.",
    }
    shown_figures = [
        picture(figures[name], caption, f"{caption} {definition}")
        for name, caption in captions.items()
        if name in figures
    ]
    return [pictures(*shown_figures)] if shown_figures else [paragraph(single.NO_TRAINING)]


def curves(records: Records, figures: Figures) -> list[Html]:
    definitions = next(iter(records.values()))["definitions"]
    ends = "; ".join(
        f"{letter} {values[0]:.1f} to {values[-1]:.1f}"
        for letter, record in records.items()
        if (values := record["precision_recall"]["precision"])
    )
    return [
        pictures(
            picture(
                figures["precision-recall"],
                f"Precision by recall, in percent: {ends}",
                definitions["precision_recall"].partition(" Chance")[0],
            ),
            picture(
                figures["precision-at-k"],
                "P@K by K of all runs",
                definitions["precision_at"].partition(" Best")[0],
            ),
        )
    ]


def categories(records: Records, figures: Figures) -> list[Html]:
    found = {letter: record["per_category_MAP"] for letter, record in records.items()}
    names = sorted({name for each in found.values() for name in each})
    caption = next(iter(records.values()))["definitions"]["per_category_MAP"]
    if len(names) > DIFFERING:
        caption += f" Shown are the {DIFFERING} of {len(names)} that the runs differ most about."
    rows = [[name, *(each.get(name) for each in found.values())] for name in names]
    return [
        pictures(picture(figures["categories"], "MAP of categories by run", caption)),
        folded(f"All {len(names)} categories as a table", table(["MAP, percent", *records], rows)),
    ]


def hash_codes(records: Records, figures: Figures) -> list[Html]:
    if "hash" not in figures:
        return [paragraph(single.NO_CODES)]
    caption = next(iter(records.values()))["definitions"]["hash"] + " Dotted: by the features themselves."
    return [pictures(picture(figures["hash"], "MAP by length of the codes, by run", caption))]


def confusion(records: Records, figures: Figures) -> list[Html]:
    many = any(len(record["confusion"]["columns"]) > WRITTEN for record in records.values())
    return each_run(records, figures, "confusion", single.confusion_picture, wide=many)


def maps(records: Records, figures: Figures) -> list[Html]:
    missing = [record["map"]["missing"] for record in records.values() if "missing" in record["map"]]
    if missing:
        return [paragraph(f"There are no maps: {missing[0]}, and make the report again.")]
    return each_run(records, figures, "map", single.map_picture)


def distances(records: Records, figures: Figures) -> list[Html]:
    return each_run(records, figures, "distances", single.distance_picture)


def each_run(
    records: Records,
    figures: Figures,
    name: str,
    shown_by: Callable[[Record, Path], Html],
    *,
    wide: bool = False,
) -> list[Html]:
    """The same figure of every run, side by side where there is room; `wide` ones take a row each."""
    return [
        pictures(
            *(
                element(
                    "div",
                    element("h3", f"{letter}: {record['run']}"),
                    shown_by(record, figures[f"{name}-{letter}"]),
                    class_="wide" if wide else "one",
                )
                for letter, record in records.items()
            )
        )
    ]


def domain_bit(records: Records, figures: Figures) -> list[Html]:
    definitions = next(iter(records.values()))["definitions"]
    rows = [
        [
            f"{letter}: {record['run']}",
            record["options"]["attention"],
            *(record["domain_bit"]["MAP"].values() if record["domain_bit"] else (None, None)),
        ]
        for letter, record in records.items()
    ]
    content = [
        table(["run", "attention", "MAP, own bit", "MAP, wrong bit"], rows, "MAP in percent"),
        paragraph(f"{definitions['wrong_bit']} Empty where there is no bit to flip."),
    ]
    if "gates" in figures:
        caption = f"{definitions['gates'].partition(':')[0]}: of test sketches, in the whole network."
        content.append(pictures(picture(figures["gates"], "Change of the gates by module and run", caption)))
    return content
