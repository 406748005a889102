"""The page of a report, of one run or of several by their letters: what its template report.html.j2 shows."""

import base64
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
from PIL import Image

from phases.report.record import Record
from run.config import CONTINUED_FIELDS, is_used
from run.plots import CATEGORIES, CONFUSED, confused_pairs, published_rows
from run.results import compare_with_chance
from run.words import in_words
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
RECOGNISED = ("dataset", "network", "attention", "f_dim", "loss_type")  # what a published pair shows
PUBLISHED_BITS = ("32", "64", "128")
SIZE = 0.8  # pixels of the screen to one of a chart


def page(runs: Records, charts: Mapping[str, Path], not_comparable: list[str]) -> str:
    """The HTML of one run or of several; `not_comparable` says why the results of these do not compare."""
    first, single = next(iter(runs.values())), len(runs) == 1
    names = ", ".join(run["run"] for run in runs.values())
    categories = sorted({name for run in runs.values() for name in run["per_category_MAP"]})
    if single:
        categories.sort(key=lambda name: -first["per_category_MAP"][name])
    return render(
        TEMPLATE,
        title=f"Report of {names}" if single else f"Comparison of {names}",
        runs=runs,
        first=first,
        single=single,
        not_comparable=not_comparable,
        published=published_rows(list(runs.values())),
        in_words=in_words,
        compare_with_chance=compare_with_chance,
        sections={
            key: title
            for key, title in SECTIONS.items()
            if key != ("options" if single else "queries")  # sheets of many runs would be a page too large
        },
        pictures={name: embed_picture(path) for name, path in charts.items()},
        ending=lambda letter: "" if single else f"-{letter}",
        definitions=first["definitions"],
        results=tabulate_results(runs, comparable=not not_comparable),
        differences=[] if single else list_differences(runs),
        training=TRAINING,
        categories={
            "charts": {
                "categories": ""
                if single or len(categories) <= CATEGORIES
                else f"Shown are the {CATEGORIES} of {len(categories)} that the runs differ most about.",
                "categories-best": f"The best of {len(categories)}.",
                "categories-worst": f"The worst of {len(categories)}.",
            },
            "rows": [
                [name, *(run["per_category_MAP"].get(name) for run in runs.values())] for name in categories
            ],
        },
        query_rows=tabulate_queries,
        confused_pairs=confused_pairs,
        most_confused=CONFUSED,
        bits=[
            [run["run"], in_words(run["options"]["attention"]), *run["domain_bit"]["MAP"].values()]
            if run["domain_bit"]
            else [run["run"], in_words(run["options"]["attention"]), None, None]
            for run in runs.values()
        ]
        if any(run["domain_bit"] for run in runs.values())
        else [],
        modules=tabulate_modules(first) if first["domain_bit"] else [],
        made_with=tabulate_origin(runs),
        options=[[name, show(first, name)] for name in sorted(first["options"])],
    )


def embed_picture(path: Path) -> dict[str, Any]:
    """A PNG as a data URL, and its width on a screen: at most `SIZE` pixels to one of a chart's."""
    with Image.open(path) as image:
        width = image.width
    data = base64.b64encode(path.read_bytes()).decode()
    return {
        "data": f"data:image/png;base64,{data}",
        "width": round(width if path.stem.startswith("queries") else SIZE * width),
    }


def tabulate_results(runs: Records, *, comparable: bool) -> dict[str, Any]:
    """A row for each run, for photos in random order, and for each published method, with what they mean."""
    first, single = next(iter(runs.values())), len(runs) == 1
    elsewhere = published_rows(list(runs.values()))
    metrics = list(dict.fromkeys(name for run in runs.values() for name in run["metrics"]))
    lengths = {name for run in runs.values() for name in run["hash"]}
    bits = sorted(lengths | set(PUBLISHED_BITS if elsewhere else ()), key=int)
    paired = comparable and not single
    spread = ["±", *([f"MAP, difference to {next(iter(runs))}"] if paired else [])]
    rows = []
    for letter, run in runs.items():
        values = [run["metrics"].get(name) for name in metrics]
        between = [f"{run['MAP_interval']:.1f}"]
        if paired:
            between.append("" if run is first else difference(run, first))
        label = run["run"] if single else f"{letter}: {run['run']}"
        rows.append([label, run["step"], values[0], *between, *values[1:]])
        rows[-1] += [run["hash"].get(name) for name in bits]
    if comparable:
        values = [first["chance"].get(name) for name in metrics]
        rows.append(["chance", None, values[0], *[None] * len(spread), *values[1:]])
        rows[-1] += [values[0]] * len(bits)
    for each in elsewhere:
        rows.append(
            [f"{each['method']} (published)", None, each.get("MAP"), *[None] * len([*spread, *metrics[1:]])]
        )
        rows[-1] += [each.get(name) for name in bits]
    definitions = [(name, first["definitions"].get(name, "")) for name in metrics]
    definitions += [("hash MAP", first["definitions"]["hash"])] * bool(bits)
    definitions += [(name, first["definitions"][name]) for name in ("chance", "ties")]
    galleries = dict.fromkeys(run["definitions"]["gallery"] for run in runs.values())
    definitions.append(("gallery", "; or: ".join(galleries)))
    return {
        "header": ["run", "step", metrics[0], *spread, *metrics[1:]]
        + [f"hash MAP, {length} bits" for length in bits],
        "rows": rows,
        "paired": next(iter(runs)) if paired else "",
        "seeds": describe_seeds(runs) if paired else "",
        "definitions": definitions,
    }


def difference(run: Record, base: Record) -> str:
    """How far the MAP of a run is from another's on the same queries, with half its 95 percent interval."""
    pairs = [
        (own, other) for own, other in zip(run["AP"], base["AP"], strict=True) if None not in (own, other)
    ]
    gaps = np.array([own - other for own, other in pairs])
    half = 1.96 * gaps.std(ddof=1) / np.sqrt(len(gaps)) if len(gaps) > 1 else np.nan
    return f"{gaps.mean():+.1f} ± {half:.1f}"


def describe_seeds(runs: Records) -> str:
    """Mean and spread of runs that differ in nothing but the seed, as a sentence."""
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for letter, run in runs.items():
        made = {
            name: run["options"].get(name) for name in (*CONTINUED_FIELDS, *TEST_OPTIONS) if name != "seed"
        }
        alike[str((run["step"], made))].append(letter)
    sentences = []
    for letters in alike.values():
        values = [runs[letter]["metrics"]["MAP"] for letter in letters]
        if len({runs[letter]["options"]["seed"] for letter in letters}) == len(letters) > 1:
            spread = f"{fmean(values):.1f} ± {stdev(values):.1f} (sample standard deviation)"
            sentences.append(f"{', '.join(letters)} differ by the seed alone: MAP {spread}.")
    return " ".join(sentences)


def tabulate_queries(queries: list[dict[str, Any]]) -> list[list[Any]]:
    return [
        [
            each["category"],
            each["AP"],
            sum(photo["category"] == each["category"] for photo in each["photos"]),
            each["sketch"],
        ]
        for each in queries
    ]


def tabulate_modules(run: Record) -> list[list[str]]:
    return [
        [
            str(depth),
            each["module"],
            *(f"{each[side][what]:.4f}" for side in ("sketches", "photos") for what in ("network", "alone")),
            f"{each['offset']['mean_absolute']:.4f}",
        ]
        for depth, each in enumerate(run["domain_bit"]["modules"], start=1)
    ]


def list_differences(runs: Records) -> list[list[Any]]:
    """The options that differ, a row each."""
    rows = [["step", *(run["step"] for run in runs.values())]]
    rows += [
        [name, *(show(run, name) for run in runs.values())]
        for name in dict.fromkeys((*CONTINUED_FIELDS, *TEST_OPTIONS))
    ]
    return [row for row in rows if len(set(row[1:])) > 1]


def show(run: Record, name: str) -> str:
    """An option of a run as text; empty where it was not given or has no meaning for the loss."""
    if not is_used(name, run["options"]["loss_type"]):
        return ""
    if not run["training_options"] and name in set(CONTINUED_FIELDS) - set(RECOGNISED):
        return "unknown"  # a published checkpoint does not say how it was trained
    value = run["options"].get(name)
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "" if value is None else str(value)


def tabulate_origin(runs: Records) -> list[list[Any]]:
    """What the numbers depend on; all runs were tested by this one process."""
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
