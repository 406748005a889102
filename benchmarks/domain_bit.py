"""Effect of the domain bit in trained networks: on the modules' gates, and on the MAP when the bit is wrong.

python -m benchmarks.domain_bit RUN...     folders below logs/, the same training with several seeds

Every test sketch and every photo is embedded with the bit of either domain. Gates are compared over at most
128 images of each domain, as a report does. Writes docs/tables/domain_bit.md, docs/domain_bit.png, and the
values of each run to benchmarks/domain_bit.json.
"""

import argparse
import sys
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from datasets import PHOTO, SKETCH
from phases.report.bit import embed_with_bit, load_batches, measure_domain_bit
from phases.report.evaluated_run import EvaluatedRun, evaluate_run
from retrieval.metrics import evaluate
from retrieval.search import feature_rankings
from run.config import make_config
from run.provenance import provenance, strip_folders
from run.words import get_display_name
from utils.errors import UserError
from utils.files import PROJECT, write_json, write_text
from utils.locks import folder_lock
from utils.plots import MARKERS, new_figure

TABLE = PROJECT / "docs" / "tables" / "domain_bit.md"
FIGURE = PROJECT / "docs" / "domain_bit.png"
RESULTS = Path(__file__).with_suffix(".json")
DISTANCES = ("euclidean", "angular")
BITS = {  # the bits that test sketches and photos are embedded with
    "the right bits": (SKETCH, PHOTO),
    "sketches as photos": (PHOTO, PHOTO),
    "photos as sketches": (SKETCH, SKETCH),
    "both swapped": (PHOTO, SKETCH),
}
FLIPS = {"network": "bit flipped in all modules", "alone": "in this module alone"}
SIDES = ("sketches", "photos")
MADE_WITH = (
    "dataset",
    "network",
    "attention",
    "image_size",
    "f_dim",
    "loss_type",
    "margin",
    "num_steps",
    "lr",
)
Measurements = dict[str, Any]


def measure_run(save_path: str) -> Measurements:
    """MAP and gates of one run. Raises UserError if it has no domain-aware modules."""
    config = make_config(save_path=save_path, device="cpu", num_workers=0)
    with folder_lock(config.folder):
        run = evaluate_run(config)
        bit = measure_domain_bit(run)
    if bit is None:
        raise UserError(f"logs/{save_path} has no domain-aware modules (--attention=dase)")
    made_with = strip_folders(run.model.options)
    return {
        "MAP": measure_maps(run),
        "chance": run.evaluation.chance["MAP"],
        "gates": {
            side: {flip: [module[side][flip] for module in bit["modules"]] for flip in FLIPS}
            for side in SIDES
        },
        "modules": [module["module"] for module in bit["modules"]],
        "counts": [len(run.model.data.categories), len(run.sketches.labels), len(run.photos.labels)],
        "seed": run.model.options["seed"],
        "step": run.model.step,
        "made_with": {name: made_with[name] for name in MADE_WITH},
        "revision": provenance(run.config)["revision"],
    }


def measure_maps(run: EvaluatedRun) -> dict[str, dict[str, float]]:
    """MAP in percent for each of BITS, by distance."""
    data = run.model.data
    sketches, photos = load_batches(run, data.test_sketches, SKETCH), load_batches(run, data.gallery, PHOTO)
    features = {
        domain: (embed_with_bit(run, sketches, domain), embed_with_bit(run, photos, domain))
        for domain in (SKETCH, PHOTO)
    }
    maps: dict[str, dict[str, float]] = {}
    for name, (sketch_bit, photo_bit) in BITS.items():
        queries, gallery = features[sketch_bit][0], features[photo_bit][1]
        labels = run.sketches.labels, run.photos.labels
        maps[name] = {
            distance: evaluate(
                feature_rankings(queries, gallery, *labels, distance, memory=run.memory, device=run.device),
                labels[0],
            ).metrics["MAP"]
            for distance in DISTANCES
        }
    return maps


def check_same_training(records: dict[str, Measurements]) -> None:
    """Raise UserError unless the runs differ in nothing but their seeds."""
    first, *others = records
    for name in others:
        for what in ("made_with", "modules", "step", "counts"):
            if records[name][what] != records[first][what]:
                raise UserError(
                    f"logs/{name} and logs/{first} differ in more than the seed: {records[name][what]} and "
                    f"{records[first][what]}"
                )
        if [record["seed"] for record in records.values()].count(records[name]["seed"]) > 1:
            raise UserError(f"logs/{name} has the seed of another run, {records[name]['seed']}")


def format_mean(values: list[float], digits: int, sign: str = "") -> str:
    spread = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{fmean(values):{sign}.{digits}f}{spread}"


def describe(records: dict[str, Measurements]) -> str:
    first = next(iter(records.values()))
    categories, queries, photos = first["counts"]
    made_with = first["made_with"]
    dataset, network = get_display_name(made_with["dataset"]), get_display_name(made_with["network"])
    return (
        f"{dataset}: {categories} categories, {queries:,} test sketches, {photos:,} photos; "
        f"{network}, {made_with['image_size']} px, {first['step']:,} steps"
    )


def format_table(records: dict[str, Measurements]) -> str:
    """The results as Markdown."""
    runs = list(records.values())
    seeds = ", ".join(str(run["seed"]) for run in runs)
    several = "mean and sample standard deviation over the seeds" if len(runs) > 1 else "seed"
    lines = [
        "## What the domain bit does",
        "",
        f"{describe(records)}. {several[0].upper()}{several[1:]} {seeds}. Made by "
        "`python -m benchmarks.domain_bit` with the names of the runs; figures of each run are in "
        "benchmarks/domain_bit.json.",
        "",
        "MAP in percent, with the domain bit right or wrong at test:",
        "",
        "| embedded with | MAP, Euclidean | MAP, angular | against the right bits, Euclidean | angular |",
        "| --- | --- | --- | --- | --- |",
    ]
    right = next(iter(BITS))
    for name in BITS:
        cells = [format_mean([run["MAP"][name][kind] for run in runs], 1) for kind in DISTANCES]
        for kind in DISTANCES:
            changes = [run["MAP"][name][kind] - run["MAP"][right][kind] for run in runs]
            cells.append("" if name == right else format_mean(changes, 2, "+"))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    chance = runs[0]["chance"]
    lines += [
        f"| *chance* | {chance:.1f} | {chance:.1f} | | |",
        "",
        "Change of the gates, in [0, 1], when the bit alone is flipped: mean over images and channels.",
        "",
        "| depth | module | "
        + " | ".join(f"{side}, {flip}" for side in SIDES for flip in FLIPS.values())
        + " |",
        "| --- | --- |" + " --- |" * (len(SIDES) * len(FLIPS)),
    ]
    for depth, module in enumerate(runs[0]["modules"]):
        cells = [
            format_mean([run["gates"][side][flip][depth] for run in runs], 4)
            for side in SIDES
            for flip in FLIPS
        ]
        lines.append(f"| {depth + 1} | {module} | {' | '.join(cells)} |")
    made_with = ", ".join(f"{option} {value}" for option, value in runs[0]["made_with"].items())
    return "\n".join([*lines, "", f"Trained with {made_with}."]) + "\n"


def draw_figure(records: dict[str, Measurements], path: Path) -> None:
    """Plot gates by depth on the left and MAP by bits on the right: means as lines, runs as points."""
    runs = list(records.values())
    with new_figure(path, 8.6, 4.2, describe(records).replace("; ", "\n")) as figure:
        gates, maps = figure.subplots(1, 2)
        depths = list(range(1, len(runs[0]["modules"]) + 1))
        lines = [(side, flip) for flip in FLIPS for side in SIDES]
        for number, (side, flip) in enumerate(lines):
            values = [run["gates"][side][flip] for run in runs]
            style = {"color": f"C{number}", "marker": MARKERS[number], "markersize": 4}
            means = [fmean(module) for module in zip(*values, strict=True)]
            gates.plot(depths, means, label=f"gates: {side}, {FLIPS[flip]}", **style)
            for of_run in values:
                gates.plot(depths, of_run, linestyle="none", alpha=0.4, **style)
        gates.set(xlabel="domain-aware module, by depth", ylabel="mean change of the gates")
        gates.set_ylim(bottom=0)
        gates.xaxis.get_major_locator().set_params(integer=True)
        for number, kind in enumerate(DISTANCES, start=len(lines)):
            style = {"color": f"C{number}", "marker": MARKERS[number]}
            by_bits = [[run["MAP"][name][kind] for run in runs] for name in BITS]
            label = f"MAP: {get_display_name(kind)} distance"
            maps.plot([fmean(values) for values in by_bits], range(len(BITS)), label=label, **style)
            for row, values in enumerate(by_bits):
                maps.plot(values, [row] * len(values), linestyle="none", alpha=0.4, **style)
        maps.axvline(runs[0]["chance"], color="black", linestyle=":", linewidth=1.3, label="MAP: chance")
        maps.set(xlabel="MAP in percent", yticks=range(len(BITS)), yticklabels=list(BITS))
        maps.set_ylim(len(BITS) - 0.6, -0.4)
        maps.set_xlim(left=0)
        handles, labels = gates.get_legend_handles_labels()
        map_handles, map_labels = maps.get_legend_handles_labels()
        figure.legend(handles + map_handles, labels + map_labels, loc="outside lower center", ncols=2)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.domain_bit",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a folder below logs/")
    try:
        records = {run: measure_run(run) for run in parser.parse_args(arguments).runs}
        check_same_training(records)
    except UserError as error:
        sys.exit(f"error: {error}")
    write_json(RESULTS, records)
    write_text(TABLE, format_table(records))
    draw_figure(records, FIGURE)
    print(format_table(records))


if __name__ == "__main__":
    main()
