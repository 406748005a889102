"""The figures of a run's report as PNGs, drawn from its record alone (and the images that it names)."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from datasets.images import read_image
from phases.reporting.record import Record
from utils import charts
from utils.figures import SheetRow, contact_sheet, save_png, save_separation
from utils.scatter import save_scatter

BARS = 30  # of a chart of categories; of more than two charts' worth the best and the worst are shown
HEATMAP = 40  # categories of the table of confusion; of more the worst are shown

TRAINING = {
    "loss": ("training-loss", "loss (mean of the batches)"),
    "lr": ("training-rate", "learning rate"),
    "alpha": ("training-margin", "share of the margin applied, 0 to 1"),
    "images_per_second": ("training-speed", "training images per second"),
}


def draw(record: Record, folder: Path) -> dict[str, Path]:
    """Write all figures that the record has something for into `folder`; returns their paths by name."""
    figures: dict[str, Path] = {}

    def path(name: str) -> Path:
        figures[name] = folder / f"{name}.png"
        return figures[name]

    training = record["training"]
    for column, (name, label) in TRAINING.items():
        if column in training:
            lines = {label: (training["step"], training[column])}
            charts.save_lines(lines, path(name), xlabel="training step", ylabel=label)
    curves({record["run"]: record}, path("precision-recall"), path("precision-at-k"))
    for name, values in category_charts(record["per_category_MAP"]).items():
        mean = record["metrics"]["MAP"]
        charts.save_bars(values, path(name), xlabel="MAP, percent", mean=mean, mean_label=f"mean {mean:.1f}")
    for name in ("best", "worst"):
        sheet(record, name, path(f"queries-{name}"))
    save_confusion(record["confusion"], path("confusion"))
    if "points" in record["map"]:
        save_map(record["map"]["points"], path("map"))
    save_distances(record["distances"], path("distances"))
    if record["separation"]:
        panels = {
            name: (np.array(each["max_intra"], dtype=float), np.array(each["min_inter"], dtype=float))
            for name, each in record["separation"].items()
        }
        with charts.styled():
            save_separation(panels, title="", path=path("margin-condition"))
    if record["hash"]:
        save_hash({record["run"]: record}, path("hash"))
    if record["domain_bit"]:
        save_gates(record["domain_bit"]["modules"], path("gates"))
        save_offsets(record["domain_bit"]["modules"], path("offset"))
    return figures


def curves(records: dict[str, Record], by_recall: Path, by_rank: Path) -> None:
    """Precision by recall and by rank of one run or of several, by label."""
    one = next(iter(records.values())) if len(records) == 1 else None
    chance = {"chance": ((0, 100), [one["precision_recall"]["chance"]] * 2)} if one else None
    charts.save_lines(
        {
            label: (each["precision_recall"]["recall"], each["precision_recall"]["precision"])
            for label, each in records.items()
        },
        by_recall,
        xlabel="recall, percent of the query's photos",
        ylabel="precision, percent",
        references=chance,
        percent=True,
    )
    best = one and {"best possible": (one["precision_at"]["k"], one["precision_at"]["best_possible"])}
    charts.save_lines(
        {
            label: (each["precision_at"]["k"], each["precision_at"]["precision"])
            for label, each in records.items()
        },
        by_rank,
        xlabel="K, photos looked at",
        ylabel="P@K, percent",
        references=best,
        log_x=True,
        percent=True,
    )


def category_charts(per_category: dict[str, float]) -> dict[str, dict[str, float]]:
    """The categories of each chart, best first: all of them in one or two, or the best and the worst."""
    ordered = dict(sorted(per_category.items(), key=lambda pair: (-pair[1], pair[0])))
    names = list(ordered)
    if len(names) <= BARS:
        return {"categories": ordered}
    parts = {"categories-best": names[:BARS], "categories-worst": names[BARS:][-BARS:]}
    return {name: {each: ordered[each] for each in part} for name, part in parts.items()}


def sheet(record: Record, which: str, path: Path) -> None:
    """A contact sheet of the best or worst queries."""
    root, queries = Path(record["images"]), record["queries"][which]
    rows = [
        SheetRow(
            query=read_image(root / query["sketch"], "L"),
            title=query["category"],
            results=[read_image(root / each["photo"], "RGB") for each in query["photos"]],
            result_titles=[each["category"] for each in query["photos"]],
        )
        for query in queries
    ]
    scores = f"AP {queries[0]['AP']:.1f} to {queries[-1]['AP']:.1f}"
    image: Image.Image = contact_sheet(rows, f"{record['run']}, {which} queries: {scores} percent")
    save_png(image, path)


def save_confusion(confusion: dict[str, Any], path: Path) -> None:
    """The table of confusion as shades; of many categories those whose own photos are found least."""
    rows, columns = confusion["rows"], confusion["columns"]
    share = np.array(confusion["share"])
    if len(rows) > HEATMAP:
        own = [
            row[columns.index(name)] if name in columns else 0 for name, row in zip(rows, share, strict=True)
        ]
        worst = sorted(np.argsort(own, kind="stable")[:HEATMAP].tolist())
        rows = [rows[index] for index in worst]
        kept = [columns.index(name) for name in rows if name in columns]
        share = share[worst]
        others = np.delete(share, kept, axis=1).sum(axis=1, keepdims=True)
        share, columns = (
            np.hstack([share[:, kept], others]),
            [*(columns[index] for index in kept), "all others"],
        )
    charts.save_heatmap(
        share,
        rows,
        columns,
        path,
        xlabel="category of the photos found",
        ylabel="category of the sketch",
        unit=f"share of the nearest {confusion['top']} photos, percent",
    )


def confused_pairs(confusion: dict[str, Any], count: int = 20) -> list[tuple[str, str, float]]:
    """Sketches of one category that find photos of another: the pairs with the largest shares, in percent."""
    pairs = [
        (row, column, value)
        for row, values in zip(confusion["rows"], confusion["share"], strict=True)
        for column, value in zip(confusion["columns"], values, strict=True)
        if row != column and value > 0
    ]
    return sorted(pairs, key=lambda pair: -pair[2])[:count]


def save_map(points: list[dict[str, Any]], path: Path) -> None:
    places = np.array([(point["x"], point["y"]) for point in points])
    categories, domains = ([point[name] for point in points] for name in ("category", "domain"))
    save_scatter(places, categories, domains, path)


def save_distances(distances: dict[str, Any], path: Path) -> None:
    charts.save_histograms(
        distances["edges"],
        {
            f"{name} (median {distances['median'][name]:.3g})": each
            for name, each in distances["share"].items()
        },
        path,
        xlabel=f"{distances['unit']} between sketch and photo",
        ylabel="pairs of the kind, percent",
    )


def save_hash(records: dict[str, Record], path: Path) -> None:
    """MAP by hash length, and of the features themselves, of one run or of several, by label."""
    bits = sorted({bits for each in records.values() for bits in each["hash"]}, key=int)
    prefix = {label: f"{label}: " if len(records) > 1 else "" for label in records}
    charts.save_steps(
        {
            f"{prefix[label]}hash codes": [each["hash"].get(length, np.nan) for length in bits]
            for label, each in records.items()
        },
        bits,
        path,
        xlabel="length of the codes, bits",
        ylabel="MAP, percent",
        references={f"{prefix[label]}features": each["metrics"]["MAP"] for label, each in records.items()},
        percent=True,
    )


def save_gates(modules: list[dict[str, Any]], path: Path) -> None:
    charts.save_steps(
        {
            f"{side}, {text}": [each[side][what] for each in modules]
            for what, text in (("network", "whole network"), ("alone", "module alone"))
            for side in ("sketches", "photos")
        },
        depths(modules),
        path,
        xlabel="domain-aware module, by depth",
        ylabel="mean change of the gates",
    )


def save_offsets(modules: list[dict[str, Any]], path: Path) -> None:
    offsets = [each["offset"] for each in modules]
    charts.save_steps(
        {"median over channels": [each["median"] for each in offsets]},
        depths(modules),
        path,
        xlabel="domain-aware module, by depth",
        ylabel="offset of the logits for photos",
        bands={
            "middle 90 % of the channels": (
                [each["p5"] for each in offsets],
                [each["p95"] for each in offsets],
            )
        },
    )


def depths(modules: list[dict[str, Any]]) -> list[str]:
    return [str(number) for number in range(1, len(modules) + 1)]
