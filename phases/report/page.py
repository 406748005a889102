"""Render the page of a report, about one run or several by their letters, with report.html.j2."""

import base64
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
from PIL import Image

from phases.report.record import Record
from run.config import CONTINUED_FIELDS, is_used_by_loss
from run.plots import MAX_CATEGORIES, MAX_CONFUSION_ROWS, confused_pairs, published_rows
from run.results import compare_with_chance
from run.words import get_display_name
from utils.hardware import describe_machine
from utils.templates import render

Records = Mapping[str, Record]  # by letter
TEMPLATE = Path(__file__).with_name("report.html.j2")
SECTIONS = {
    "results": "Results of the test",
    "options": "What the runs differ in",
    "training": "Training",
    "curves": "Precision and recall",
    "categories": "Categories",
    "queries": "Worst and best queries",
    "confusion": "Confusion between categories",
    "map": "Map of the features",
    "distances": "Distances inside and between categories",
    "hash": "Hash codes",
    "bit": "What the domain bit does",
    "made": "What this was made with",
}
TRAINING = {
    "training-loss": "Loss (cross-entropy) by training step, beside that of guessing the category. Losses of "
    "another kind or margin do not compare.",
    "training-rate": "Learning rate of Adam by training step.",
    "training-margin": "Share of the margin that is applied, from 0 (none) to 1 (all of it).",
    "training-speed": "Training images, of both domains, per second.",
}
TEST_OPTIONS = ("test_distance", "mirror", "hash_bits", "hash_gradient", "anno_path", "data_path")
# Options that are recognised from a published pair of weights
RECOGNISED = ("dataset", "network", "attention", "f_dim", "loss_type")
PUBLISHED_BITS = ("32", "64", "128")
SIZE = 0.8  # pixels of the screen per pixel of a plot


def render_page(runs: Records, charts: Mapping[str, Path], not_comparable: list[str]) -> str:
    """The HTML page. `charts` are the paths of the plots by name.

    `not_comparable` has a sentence if the results of the runs do not compare.
    """
    first, single = next(iter(runs.values())), len(runs) == 1
    names = ", ".join(run["run"] for run in runs.values())
    return render(
        TEMPLATE,
        title=f"Report of {names}" if single else f"Comparison of {names}",
        runs=runs,
        first=first,
        single=single,
        not_comparable=not_comparable,
        published=published_rows(list(runs.values())),
        get_display_name=get_display_name,
        compare_with_chance=compare_with_chance,
        sections={
            key: title
            for key, title in SECTIONS.items()
            # one run has no differences; the query sheets of several would make the page too large
            if key != ("options" if single else "queries")
        },
        pictures={name: embed_picture(path) for name, path in charts.items()},
        ending=lambda letter: "" if single else f"-{letter}",
        definitions=first["definitions"],
        results=tabulate_results(runs, comparable=not not_comparable),
        differences=[] if single else list_differences(runs),
        training=TRAINING,
        categories=tabulate_categories(runs),
        query_rows=tabulate_queries,
        confused_pairs=confused_pairs,
        most_confused=MAX_CONFUSION_ROWS,
        bits=tabulate_domain_bit(runs),
        modules=tabulate_modules(first) if first["domain_bit"] else [],
        made_with=tabulate_origin(runs),
        options=[[name, format_option(first, name)] for name in sorted(first["options"])],
    )


def tabulate_categories(runs: Records) -> dict[str, Any]:
    """The MAP of each category in a row, best first for one run, and the captions of its plots by name."""
    single = len(runs) == 1
    names = sorted({name for run in runs.values() for name in run["per_category_MAP"]})
    if single:
        values = next(iter(runs.values()))["per_category_MAP"]
        names.sort(key=lambda name: -values[name])
    selection = ""
    if not single and len(names) > MAX_CATEGORIES:
        selection = f"Shown are the {MAX_CATEGORIES} of {len(names)} that the runs differ most about."
    return {
        "charts": {
            "categories": selection,
            "categories-best": f"The best of {len(names)}.",
            "categories-worst": f"The worst of {len(names)}.",
        },
        "rows": [[name, *(run["per_category_MAP"].get(name) for run in runs.values())] for name in names],
    }


def tabulate_domain_bit(runs: Records) -> list[list[Any]]:
    """A row per run with its MAP by the right and the wrong bit; no rows if no run has a bit to flip."""
    rows = []
    for run in runs.values():
        values = [None, None]
        if run["domain_bit"]:
            values = [run["domain_bit"]["MAP"][key] for key in ("right bit", "wrong bit")]
        rows.append([run["run"], get_display_name(run["options"]["attention"]), *values])
    has_bit = any(run["domain_bit"] for run in runs.values())
    return rows if has_bit else []


def embed_picture(path: Path) -> dict[str, Any]:
    """A PNG as a data URL, and its width on a screen in pixels; contact sheets keep their size."""
    with Image.open(path) as image:
        width = image.width
    if not path.stem.startswith("queries"):
        width = round(SIZE * width)
    data = base64.b64encode(path.read_bytes()).decode()
    return {"data": f"data:image/png;base64,{data}", "width": width}


def tabulate_results(runs: Records, *, comparable: bool) -> dict[str, Any]:
    """A row for each run, for photos in random order, and for each published method, with what they mean."""
    first, single = next(iter(runs.values())), len(runs) == 1
    published = published_rows(list(runs.values()))
    metrics = list(dict.fromkeys(name for run in runs.values() for name in run["metrics"]))
    lengths = {name for run in runs.values() for name in run["hash"]}
    bits = sorted(lengths | set(PUBLISHED_BITS if published else ()), key=int)
    has_differences = comparable and not single
    # columns: run, step, MAP, then these two, the other metrics, and the MAP by hash codes
    spread_header = ["±"]
    if has_differences:
        spread_header.append(f"MAP, difference to {next(iter(runs))}")
    no_spread = [None] * len(spread_header)
    rows: list[list[Any]] = []
    for letter, run in runs.items():
        label = run["run"] if single else f"{letter}: {run['run']}"
        spread = [f"{run['MAP_interval']:.1f}"]
        if has_differences:
            spread.append("" if run is first else format_difference(run, first))
        first_value, *other_values = (run["metrics"].get(name) for name in metrics)
        hash_values = [run["hash"].get(name) for name in bits]
        rows.append([label, run["step"], first_value, *spread, *other_values, *hash_values])
    if comparable:
        first_value, *other_values = (first["chance"].get(name) for name in metrics)
        hash_values = [first_value] * len(bits)
        rows.append(["chance", None, first_value, *no_spread, *other_values, *hash_values])
    for method in published:
        other_values = [None] * (len(metrics) - 1)
        hash_values = [method.get(name) for name in bits]
        label = f"{method['method']} (published)"
        rows.append([label, None, method.get("MAP"), *no_spread, *other_values, *hash_values])
    hash_header = [f"hash MAP, {length} bits" for length in bits]
    return {
        "header": ["run", "step", metrics[0], *spread_header, *metrics[1:], *hash_header],
        "rows": rows,
        "paired": next(iter(runs)) if has_differences else "",
        "seeds": describe_seeds(runs) if has_differences else "",
        "definitions": list_definitions(runs, metrics, has_codes=bool(bits)),
    }


def list_definitions(runs: Records, metrics: list[str], *, has_codes: bool) -> list[tuple[str, str]]:
    """What the columns and the row of chance mean."""
    texts = next(iter(runs.values()))["definitions"]
    definitions = [(name, texts.get(name, "")) for name in metrics]
    if has_codes:
        definitions.append(("hash MAP", texts["hash"]))
    definitions += [(name, texts[name]) for name in ("chance", "ties")]
    galleries = dict.fromkeys(run["definitions"]["gallery"] for run in runs.values())
    definitions.append(("gallery", "; or: ".join(galleries)))
    return definitions


def format_difference(run: Record, base: Record) -> str:
    """The mean difference of AP to another run on the same queries, with half its 95 percent interval."""
    differences = np.array(
        [
            own - other
            for own, other in zip(run["AP"], base["AP"], strict=True)
            if own is not None and other is not None
        ]
    )
    half = np.nan
    if len(differences) > 1:
        half = 1.96 * differences.std(ddof=1) / np.sqrt(len(differences))
    return f"{differences.mean():+.1f} ± {half:.1f}"


def describe_seeds(runs: Records) -> str:
    """Mean and standard deviation of runs that differ only in the seed, as a sentence."""
    names = [name for name in (*CONTINUED_FIELDS, *TEST_OPTIONS) if name != "seed"]
    letters_by_options: defaultdict[str, list[str]] = defaultdict(list)
    for letter, run in runs.items():
        options = {name: run["options"].get(name) for name in names}
        letters_by_options[str((run["step"], options))].append(letter)
    sentences = []
    for letters in letters_by_options.values():
        values = [runs[letter]["metrics"]["MAP"] for letter in letters]
        if len({runs[letter]["options"]["seed"] for letter in letters}) == len(letters) > 1:
            spread = f"{fmean(values):.1f} ± {stdev(values):.1f} (sample standard deviation)"
            sentences.append(f"{', '.join(letters)} differ by the seed alone: MAP {spread}.")
    return " ".join(sentences)


def tabulate_queries(queries: list[dict[str, Any]]) -> list[list[Any]]:
    """Category, AP, number of hits among the nearest photos and file of each query."""
    rows = []
    for query in queries:
        num_hits = sum(photo["category"] == query["category"] for photo in query["photos"])
        rows.append([query["category"], query["AP"], num_hits, query["sketch"]])
    return rows


def tabulate_modules(run: Record) -> list[list[str]]:
    """Depth, name, changes of the gates and mean offset of each domain-aware module."""
    rows = []
    for depth, module in enumerate(run["domain_bit"]["modules"], start=1):
        changes = [
            module[domain][scope] for domain in ("sketches", "photos") for scope in ("network", "alone")
        ]
        values = [*changes, module["offset"]["mean_absolute"]]
        rows.append([str(depth), module["module"], *(f"{value:.4f}" for value in values)])
    return rows


def list_differences(runs: Records) -> list[list[Any]]:
    """A row for the step and each option that differ between the runs."""
    rows = [["step", *(run["step"] for run in runs.values())]]
    rows += [
        [name, *(format_option(run, name) for run in runs.values())]
        for name in dict.fromkeys((*CONTINUED_FIELDS, *TEST_OPTIONS))
    ]
    return [row for row in rows if len(set(row[1:])) > 1]


def format_option(run: Record, name: str) -> str:
    """The value of an option; empty where it was not given or has no meaning for the loss."""
    if not is_used_by_loss(name, run["options"]["loss_type"]):
        return ""
    if not run["training_options"] and name in set(CONTINUED_FIELDS) - set(RECOGNISED):
        return "unknown"  # a published checkpoint does not state how it was trained
    value = run["options"].get(name)
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "" if value is None else str(value)


def tabulate_origin(runs: Records) -> list[list[Any]]:
    """What the numbers depend on. All runs were tested by this process, so versions are the same for all."""
    rows = [[name, *(str(run[name]) for run in runs.values())] for name in ("checkpoint", "images", "seed")]
    rows.append(["lists (SHA-256)", *(run["lists"][:16] for run in runs.values())])
    first = next(iter(runs.values()))
    rows.append(
        ["trained on", *(describe_machine(run["training_machine"]) or "unknown" for run in runs.values())]
    )
    here = {
        "tested on": describe_machine(first["machine"]),
        "commit of the program": first["revision"],
        **first["versions"],
    }
    return rows + [[name, *[value] * len(runs)] for name, value in here.items()]
