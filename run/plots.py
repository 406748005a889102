"""The plots of a training, of a test, of tables and of reports."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from datasets.images import read_image
from run.contact_sheet import Cell, SheetRow, contact_sheet, save_png
from utils.plots import (
    FAINT,
    INK,
    Line,
    new_figure,
    save_heatmap,
    save_lines,
    save_points,
    save_scatter,
    shorten,
)
from utils.tracking import read_scalars

Record = dict[str, Any]  # of one run, written by phases/report/record.py

TRAINING_PLOTS = {  # column of scalars.csv -> name of the plot, label of its y axis
    "loss": ("training-loss", "loss (cross-entropy)"),
    "lr": ("training-rate", "learning rate"),
    "alpha": ("training-margin", "share of the margin applied"),
    "images_per_second": ("training-speed", "training images per second"),
}
MAX_CATEGORIES = 30  # in one plot
MAX_CONFUSION_ROWS = (
    40  # categories in the table of confusion; of more, those whose own photos are found least
)
CONDITION = r"$\max\,d_{\mathrm{inside}} < \min\,d_{\mathrm{other}}$"


def save_training_curves(scalars: Path, path: Path, *, run: str, classes: int, margin: bool) -> None:
    """Plot loss, learning rate and share of the margin by step, with the loss of guessing a class."""
    rows = read_scalars(scalars)
    steps = [row["step"] for row in rows]
    columns = ["loss", "lr", *(["alpha"] if margin else [])]
    save_lines(
        {TRAINING_PLOTS[name][1]: {"this run": (steps, [row[name] for row in rows])} for name in columns},
        path,
        xlabel="training step",
        title=run,
        references=loss_of_guessing(classes, steps),
    )


def loss_of_guessing(classes: int, steps: Sequence[float]) -> dict[str, Any]:
    """The reference line at ln C, the loss of a network that guesses the category."""
    if not steps:
        return {}
    loss = math.log(classes)
    return {f"chance: ln {classes} = {loss:.2f}": ((min(steps), max(steps)), (loss, loss))}


def save_margin_condition(
    panels: Mapping[str, tuple[np.ndarray, np.ndarray]], path: Path, *, title: str = ""
) -> None:
    """A panel per entry of `panels`, on one scale, with a dot per category at (max intra, min inter).

    Values that are not finite are not drawn: with a margin of 1, nothing bounds a category. Dots beyond four
    times the median, which a margin near 1 implies, are only counted.
    """
    finite = {name: np.isfinite(intra) & np.isfinite(inter) for name, (intra, inter) in panels.items()}
    farthest = [np.maximum(*panels[name])[shown] for name, shown in finite.items()]
    largest = np.concatenate([*farthest, [1e-9]])
    limit = 1.05 * min(largest.max(), max(4 * np.median(largest), 1e-9))
    columns = min(2, len(panels))
    lines = math.ceil(len(panels) / columns)
    with new_figure(path, 1 + 3.6 * columns, 0.9 + 3.9 * lines, title) as figure:
        axes = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
        for axis in axes.flat[len(panels) :]:
            axis.set_visible(False)
        for axis, (name, (intra, inter)) in zip(axes.flat, panels.items(), strict=False):
            inside = finite[name] & (np.maximum(intra, inter) <= limit)
            held, known = np.count_nonzero(intra < inter), np.count_nonzero(~np.isnan(intra))
            beyond = np.count_nonzero(~np.isnan(intra)) - np.count_nonzero(inside)
            axis.plot([0, limit], [0, limit], color=FAINT, linestyle="-", linewidth=1)
            axis.fill_between([0, limit], [0, limit], [limit, limit], color="C0", alpha=0.08, linewidth=0)
            axis.plot(
                intra[inside], inter[inside], "o", color="C0", markersize=4, alpha=0.7, markeredgewidth=0
            )
            holds = f"the condition holds:\n{CONDITION}"
            axis.text(0.04 * limit, 0.96 * limit, holds, va="top", color=INK, parse_math=True)
            axis.text(0.96 * limit, 0.04 * limit, "it fails", ha="right", color=INK)
            note = f" ({beyond} beyond the axes)" if beyond else ""
            axis.set_title(f"{name}\nholds for {held} of {known} categories{note}")
            axis.set(xlim=(0, limit), ylim=(0, limit), aspect="equal")
        inside, other = (rf"$d_{{\mathrm{{{word}}}}}$" for word in ("inside", "other"))
        figure.supxlabel(
            f"max {inside}: largest distance inside a category (a dot is a category)",
            fontsize=10,
            parse_math=True,
        )
        figure.supylabel(f"min {other}: smallest distance to another category", fontsize=10, parse_math=True)


def save_table(
    values: Mapping[str, Mapping[str, Sequence[float]]],
    chance: Mapping[str, float],
    path: Path,
    *,
    title: str,
) -> None:
    """Plot the MAP of a table's rows by column, one value per seed, with that of photos in random order."""
    expected = sorted(set(chance.values()))
    references = {}
    if expected:
        references[f"chance {', '.join(f'{value:.1f}' for value in expected)}"] = fmean(expected)
    several = any(len(seeds) > 1 for columns in values.values() for seeds in columns.values())
    save_points(
        values,
        path,
        xlabel="MAP, percent" + (": a point is a seed, a bar their mean" if several else ""),
        title=title,
        references=references,
    )


def draw_report(records: Mapping[str, Record], folder: Path) -> dict[str, Path]:
    """Write the plots of one or several runs, by letter, to `folder`; returns their paths by name.

    With several runs, plots of a single run are called NAME-LETTER.
    """
    paths: dict[str, Path] = {}

    def path(name: str) -> Path:
        paths[name] = folder / f"{name}.png"
        return paths[name]

    single = len(records) == 1
    runs = {run_label(letter, records): record for letter, record in records.items()}
    first = next(iter(records.values()))
    comparable = len({record["lists"] for record in records.values()}) == 1
    draw_training(runs, path)
    if not single:
        chance = {"chance": first["chance"]["MAP"]} if comparable else None
        errors = {name: {"features": record["MAP_interval"]} for name, record in runs.items()}
        save_points(
            tabulate_map(runs), path("overview"), xlabel="MAP, percent", references=chance, errors=errors
        )
    draw_curves(runs, first if comparable else None, path)
    for name, rows in (
        split_categories(first) if single else {"categories": select_differing_categories(runs)}
    ).items():
        save_points(
            rows,
            path(name),
            xlabel="MAP of the category, percent",
            references={"chance": first["chance"]["MAP"]} if comparable else None,
        )
    draw_hash_codes(runs, path)
    draw_domain_bit(runs, path)
    for letter, record in records.items():
        ending = "" if single else f"-{letter}"
        save_confusion(record["confusion"], path(f"confusion{ending}"))
        if "points" in record["map"]:
            points = record["map"]["points"]
            places = np.array([(point["x"], point["y"]) for point in points])
            categories, domains = ([point[key] for point in points] for key in ("category", "domain"))
            save_scatter(places, categories, domains, path(f"map{ending}"))
        save_distances(record["distances"], path(f"distances{ending}"))
        if record["separation"]:
            panels = {
                name: (np.array(part["max_intra"], dtype=float), np.array(part["min_inter"], dtype=float))
                for name, part in record["separation"].items()
            }
            save_margin_condition(panels, path(f"margin-condition{ending}"))
        if single:
            for which in ("worst", "best"):
                save_query_sheet(record, which, path(f"queries-{which}"))
    return paths


def run_label(letter: str, records: Mapping[str, Record]) -> str:
    """The label of a run in plots: its letter distinguishes long names that begin alike."""
    name = records[letter]["run"]
    return name if len(records) == 1 else f"{letter}: {shorten(name, 30)}"


def draw_training(runs: Mapping[str, Record], path: Any) -> None:
    for column, (name, ylabel) in TRAINING_PLOTS.items():
        lines = {
            label: (record["training"]["step"], record["training"][column])
            for label, record in runs.items()
            if column in record["training"] and (column != "alpha" or record["options"]["margin"] is not None)
        }
        if not lines:
            continue
        references = {}
        classes = {runs[label]["counts"]["trained_categories"] for label in lines}
        if column == "loss" and len(classes) == 1:
            references = loss_of_guessing(classes.pop(), [step for x, _ in lines.values() for step in x])
        save_lines({ylabel: lines}, path(name), xlabel="training step", references=references)


def draw_curves(runs: Mapping[str, Record], shared: Record | None, path: Any) -> None:
    """Precision by recall and by rank; `shared` has the values for chance if all runs use the same lists."""
    chance = best = None
    if shared:
        share = shared["precision_recall"]["chance"]
        ranks = shared["precision_at"]["k"]
        chance = {"chance": ((0, 100), (share, share))}
        best = {
            "chance": ((1, ranks[-1]), (share, share)),
            "best possible": (ranks, shared["precision_at"]["best_possible"]),
        }
    save_lines(
        {
            "precision, percent": {
                label: (record["precision_recall"]["recall"], record["precision_recall"]["precision"])
                for label, record in runs.items()
            }
        },
        path("precision-recall"),
        xlabel="recall, percent of the query's photos",
        references=chance,
        percent=True,
    )
    save_lines(
        {
            "P@K, percent": {
                label: (record["precision_at"]["k"], record["precision_at"]["precision"])
                for label, record in runs.items()
            }
        },
        path("precision-at-k"),
        xlabel="K, photos looked at",
        references=best,
        log="x",
        percent=True,
    )


def tabulate_map(runs: Mapping[str, Record]) -> dict[str, dict[str, list[float]]]:
    """MAP by features and by hash codes, of the runs and of published methods."""
    rows = {
        label: {"features": [record["metrics"]["MAP"]]}
        | {f"{bits} bits": [value] for bits, value in record["hash"].items()}
        for label, record in runs.items()
    }
    for row in published_rows(list(runs.values())):
        columns = {"features": row.get("MAP")} | {
            f"{bits} bits": row.get(bits) for bits in ("32", "64", "128")
        }
        known = {label: [value] for label, value in columns.items() if value is not None}
        if known:
            rows[row["method"]] = known
    return rows


def published_rows(records: Sequence[Record]) -> list[dict[str, Any]]:
    """The published numbers that compare with all runs; empty if the runs use different lists."""
    if len({record["lists"] for record in records}) > 1:
        return []
    return records[0]["published"].get("rows", [])


def split_categories(record: Record) -> dict[str, dict[str, dict[str, list[float]]]]:
    """The categories of each plot, best first: one plot of all, or one of the best and one of the worst."""
    ordered = sorted(record["per_category_MAP"].items(), key=lambda pair: (-pair[1], pair[0]))
    rows = {name: {"MAP": [value]} for name, value in ordered}
    names = list(rows)
    if len(names) <= MAX_CATEGORIES:
        return {"categories": rows}
    parts = {
        "categories-best": names[:MAX_CATEGORIES],
        "categories-worst": names[MAX_CATEGORIES:][-MAX_CATEGORIES:],
    }
    return {chart: {name: rows[name] for name in part} for chart, part in parts.items()}


def select_differing_categories(runs: Mapping[str, Record]) -> dict[str, dict[str, list[float]]]:
    """MAP by run of the categories in which the runs differ most, the highest first."""
    by_category: dict[str, dict[str, list[float]]] = {}
    for label, record in runs.items():
        for category, value in record["per_category_MAP"].items():
            by_category.setdefault(category, {})[label] = [value]
    spread = {name: max(values.values())[0] - min(values.values())[0] for name, values in by_category.items()}
    most = sorted(by_category, key=lambda name: (-spread[name], name))[:MAX_CATEGORIES]
    return {
        name: by_category[name] for name in sorted(most, key=lambda name: -max(by_category[name].values())[0])
    }


def draw_hash_codes(runs: Mapping[str, Record], path: Any) -> None:
    bits = sorted({length for record in runs.values() for length in record["hash"]}, key=int)
    if not bits:
        return
    names = [f"{length} bits" for length in bits]
    of = {label: f"{label}: " if len(runs) > 1 else "" for label in runs}
    codes: dict[str, Line] = {
        f"{of[label]}hash codes": (names, [record["hash"].get(length) for length in bits])
        for label, record in runs.items()
    }
    features: dict[str, Line] = {
        f"{of[label]}features": (names, [record["metrics"]["MAP"]] * len(bits))
        for label, record in runs.items()
    }
    save_lines(
        {"MAP, percent": codes},
        path("hash"),
        xlabel="length of the codes",
        references=features,
        matched=True,
        percent=True,
        markers=True,
    )


def draw_domain_bit(runs: Mapping[str, Record], path: Any) -> None:
    """Change of the gates by the bit: both domains for one run, sketches for several; one run's offsets."""
    modules_by_run = {
        label: record["domain_bit"]["modules"] for label, record in runs.items() if record["domain_bit"]
    }
    if not modules_by_run:
        return
    if len(runs) > 1:
        lines = {
            label: [module["sketches"]["network"] for module in modules]
            for label, modules in modules_by_run.items()
        }
    else:
        (modules,) = modules_by_run.values()
        lines = {
            f"{side}, {text}": [module[side][what] for module in modules]
            for what, text in (("network", "whole network"), ("alone", "module alone"))
            for side in ("sketches", "photos")
        }
        offsets = {"95th percentile": "p95", "median over channels": "median", "5th percentile": "p5"}
        save_lines(
            {
                "offset of the logits for photos": {
                    text: number_by_depth([module["offset"][name] for module in modules])
                    for text, name in offsets.items()
                }
            },
            path("offset"),
            xlabel="domain-aware module, by depth",
            markers=True,
        )
    save_lines(
        {"mean change of the gates": {label: number_by_depth(values) for label, values in lines.items()}},
        path("gates"),
        xlabel="domain-aware module, by depth",
        markers=True,
    )


def number_by_depth(values: Sequence[float]) -> tuple[list[float], Sequence[float]]:
    return [float(depth) for depth in range(1, len(values) + 1)], values


def save_query_sheet(record: Record, which: str, path: Path) -> None:
    """A contact sheet of the worst or best queries."""
    root, queries = Path(record["images"]), record["queries"][which]

    def cell(name: str, category: str, mode: str) -> Cell:
        return Cell(read_image(root / name, mode), Path(name).name, category)

    rows = [
        SheetRow(
            cell(query["sketch"], query["category"], "L"),
            [cell(photo["photo"], photo["category"], "RGB") for photo in query["photos"]],
        )
        for query in queries
    ]
    scores = f"AP {queries[0]['AP']:.1f} to {queries[-1]['AP']:.1f} percent"
    save_png(contact_sheet(rows, f"{record['run']}, {which} queries: {scores}"), path)


def save_confusion(confusion: dict[str, Any], path: Path) -> None:
    """A heatmap of confusion; with many categories, those whose own photos are found least."""
    rows, columns = confusion["rows"], confusion["columns"]
    share = np.array(confusion["share"])
    if len(rows) > MAX_CONFUSION_ROWS:
        own = [
            row[columns.index(name)] if name in columns else 0 for name, row in zip(rows, share, strict=True)
        ]
        worst = sorted(np.argsort(own, kind="stable")[:MAX_CONFUSION_ROWS].tolist())
        rows = [rows[index] for index in worst]
        selected = [columns.index(name) for name in rows if name in columns]
        others = np.delete(share[worst], selected, axis=1).sum(axis=1, keepdims=True)
        share = np.hstack([share[np.ix_(worst, selected)], others])
        columns = [*(columns[index] for index in selected), "all others"]
    save_heatmap(
        share,
        rows,
        columns,
        path,
        xlabel="category of the photos found",
        ylabel="category of the sketch",
        unit=f"share of the nearest {confusion['top']} photos, percent",
    )


def confused_pairs(confusion: dict[str, Any], count: int = 20) -> list[tuple[str, str, float]]:
    """The pairs of sketch and photo category that are confused most, with shares in percent."""
    pairs = [
        (row, column, value)
        for row, values in zip(confusion["rows"], confusion["share"], strict=True)
        for column, value in zip(confusion["columns"], values, strict=True)
        if row != column and value > 0
    ]
    return sorted(pairs, key=lambda pair: -pair[2])[:count]


def save_distances(distances: dict[str, Any], path: Path) -> None:
    """Histograms of the distances inside and between categories."""
    lines = {
        f"{name} (median {distances['median'][name]:.3g})": (distances["edges"], [*share, share[-1]])
        for name, share in distances["share"].items()
    }
    xlabel = f"{distances['unit']} between sketch and photo"
    save_lines({"pairs of the kind, percent": lines}, path, xlabel=xlabel, filled=True)
