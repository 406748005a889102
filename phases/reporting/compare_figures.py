"""The figures of a comparison: curves of all runs in one chart, maps and tables of each by itself."""

from pathlib import Path

from phases.reporting import figures as single
from phases.reporting.record import Record
from utils import charts
from utils.charts import shortened

DIFFERING = 30  # categories shown: those that the runs differ most about
OVERLAID = {"loss": "loss (mean of the batches)", "images_per_second": "training images per second"}


def draw(records: dict[str, Record], folder: Path) -> dict[str, Path]:
    """Write all figures into `folder`; returns their paths by name. `records` are by the runs' letters."""
    figures: dict[str, Path] = {}

    def path(name: str) -> Path:
        figures[name] = folder / f"{name}.png"
        return figures[name]

    labelled = {label(letter, record): record for letter, record in records.items()}
    for column, text in OVERLAID.items():
        lines = {
            name: (record["training"]["step"], record["training"][column])
            for name, record in labelled.items()
            if column in record["training"]
        }
        if lines:
            name = {"loss": "training-loss", "images_per_second": "training-speed"}[column]
            charts.save_lines(lines, path(name), xlabel="training step", ylabel=text)
    single.curves(labelled, path("precision-recall"), path("precision-at-k"))
    charts.save_dots(overview(labelled), path("overview"), xlabel="MAP, percent")
    charts.save_dots(differing(labelled), path("categories"), xlabel="MAP of the category, percent")
    if any(record["hash"] for record in records.values()):
        single.save_hash(labelled, path("hash"))
    gates = gate_changes(labelled)
    if gates:
        depths = [str(depth) for depth in range(1, 1 + max(map(len, gates.values())))]
        charts.save_steps(
            gates,
            depths,
            path("gates"),
            xlabel="domain-aware module, by depth",
            ylabel="mean change of the gates",
        )
    for letter, record in records.items():
        if "points" in record["map"]:
            single.save_map(record["map"]["points"], path(f"map-{letter}"))
        single.save_distances(record["distances"], path(f"distances-{letter}"))
        single.save_confusion(record["confusion"], path(f"confusion-{letter}"))
    return figures


def label(letter: str, record: Record) -> str:
    """What a run is called in figures: its letter tells apart long names that begin alike."""
    return f"{letter}: {shortened(record['run'], 30)}"


def overview(labelled: dict[str, Record]) -> dict[str, dict[str, float]]:
    """MAP by features and by hash codes: of the runs, and published."""
    rows = {
        name: {
            "features": record["metrics"]["MAP"],
            **{f"{bits} bits": value for bits, value in record["hash"].items()},
        }
        for name, record in labelled.items()
    }
    for each in published_rows(labelled):
        known = {
            "features": each.get("MAP"),
            **{f"{bits} bits": each.get(bits) for bits in ("32", "64", "128")},
        }
        found = {name: value for name, value in known.items() if value is not None}
        if found:
            rows[each["method"]] = found
    return rows


def published_rows(records: dict[str, Record]) -> list[dict]:
    """The published figures that hold for all of the runs; none if they are not of one set of lists."""
    if len({record["lists"] for record in records.values()}) > 1:
        return []
    return next(iter(records.values()))["published"].get("rows", [])


def differing(labelled: dict[str, Record]) -> dict[str, dict[str, float]]:
    """MAP by run of the categories that the runs differ most about, in the order of the first run's MAP."""
    by_category: dict[str, dict[str, float]] = {}
    for name, record in labelled.items():
        for category, value in record["per_category_MAP"].items():
            by_category.setdefault(category, {})[name] = value
    spread = {name: max(each.values()) - min(each.values()) for name, each in by_category.items()}
    most = sorted(by_category, key=lambda name: (-spread[name], name))[:DIFFERING]
    return {
        name: by_category[name] for name in sorted(most, key=lambda name: -max(by_category[name].values()))
    }


def gate_changes(labelled: dict[str, Record]) -> dict[str, list[float]]:
    """The mean change of each module's gates for sketches, in the whole network, by run with such modules.

    Networks of other depths have other numbers of modules: shorter ones end earlier.
    """
    found = {
        name: [each["sketches"]["network"] for each in record["domain_bit"]["modules"]]
        for name, record in labelled.items()
        if record["domain_bit"]
    }
    longest = max(map(len, found.values()), default=0)
    return {name: values + [float("nan")] * (longest - len(values)) for name, values in found.items()}
