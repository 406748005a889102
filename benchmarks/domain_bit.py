"""What the domain bit does in trained networks: to the gates of the modules, and to the MAP when it is wrong.

python -m benchmarks.domain_bit RUN...     folders below logs/, of one training with several seeds

Every test sketch and every photo is embedded with the bit of either domain. Gates are compared over at most
128 images of each domain, as a report does. The table goes to docs/tables/domain_bit.md, the picture to
docs/domain_bit.png, the figures of each run to benchmarks/domain_bit.json.
"""

import argparse
import sys
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from datasets import PHOTO, SKETCH
from phases.report.bit import batches_of, domain_bit, embed_with_bit
from phases.report.evaluated_run import EvaluatedRun, evaluate_run
from retrieval.metrics import evaluate
from retrieval.search import feature_rankings
from run.config import make_config
from run.provenance import provenance, without_folders
from run.words import in_words
from utils.errors import UserError
from utils.files import PROJECT, write_json, write_text
from utils.locks import folder_lock
from utils.plots import MARKERS, new_figure

TABLE = PROJECT / "docs" / "tables" / "domain_bit.md"
PICTURE = PROJECT / "docs" / "domain_bit.png"
FIGURES = Path(__file__).with_suffix(".json")
DISTANCES = ("euclidean", "angular")
BITS = {  # what is embedded with which bit: of the test sketches, of the photos
    "the right bits": (SKETCH, PHOTO),
    "sketches as photos": (PHOTO, PHOTO),
    "photos as sketches": (SKETCH, SKETCH),
    "both swapped": (PHOTO, SKETCH),
}
WAYS = {"network": "bit flipped in all modules", "alone": "in this module alone"}
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
Figures = dict[str, Any]


def examine_run(save_path: str) -> Figures:
    """The figures of one run. Raises UserError if it has no domain-aware modules."""
    config = make_config(save_path=save_path, device="cpu", num_workers=0)
    with folder_lock(config.folder):
        run = evaluate_run(config)
        bit = domain_bit(run)
    if bit is None:
        raise UserError(f"logs/{save_path} has no domain-aware modules (--attention=dase)")
    made_with = without_folders(run.model.options)
    return {
        "MAP": swapped_maps(run),
        "chance": run.found.chance["MAP"],
        "gates": {
            side: {way: [module[side][way] for module in bit["modules"]] for way in WAYS} for side in SIDES
        },
        "modules": [module["module"] for module in bit["modules"]],
        "counts": [len(run.model.data.categories), len(run.sketches.labels), len(run.photos.labels)],
        "seed": run.model.options["seed"],
        "step": run.model.step,
        "made_with": {name: made_with[name] for name in MADE_WITH},
        "revision": provenance(run.config)["revision"],
    }


def swapped_maps(run: EvaluatedRun) -> dict[str, dict[str, float]]:
    """MAP in percent, by what is embedded with which bit and by distance."""
    data = run.model.data
    sketches, photos = batches_of(run, data.test_sketches, SKETCH), batches_of(run, data.gallery, PHOTO)
    features = {
        domain: (embed_with_bit(run, sketches, domain), embed_with_bit(run, photos, domain))
        for domain in (SKETCH, PHOTO)
    }
    found: dict[str, dict[str, float]] = {}
    for name, (of_sketches, of_photos) in BITS.items():
        queries, gallery = features[of_sketches][0], features[of_photos][1]
        labels = run.sketches.labels, run.photos.labels
        found[name] = {
            distance: evaluate(
                feature_rankings(queries, gallery, *labels, distance, memory=run.memory, device=run.device),
                labels[0],
            ).metrics["MAP"]
            for distance in DISTANCES
        }
    return found


def check_alike(found: dict[str, Figures]) -> None:
    """Raise UserError unless the runs differ in their seeds alone."""
    first, *others = found
    for name in others:
        for what in ("made_with", "modules", "step", "counts"):
            if found[name][what] != found[first][what]:
                raise UserError(
                    f"logs/{name} and logs/{first} differ in more than the seed: {found[name][what]} and "
                    f"{found[first][what]}"
                )
        if [each["seed"] for each in found.values()].count(found[name]["seed"]) > 1:
            raise UserError(f"logs/{name} has the seed of another run, {found[name]['seed']}")


def mean_and_spread(values: list[float], digits: int, sign: str = "") -> str:
    spread = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{fmean(values):{sign}.{digits}f}{spread}"


def describe(found: dict[str, Figures]) -> str:
    first = next(iter(found.values()))
    categories, queries, photos = first["counts"]
    made_with = first["made_with"]
    return (
        f"{in_words(made_with['dataset'])}: {categories} categories, {queries:,} test sketches, {photos:,} "
        f"photos; {in_words(made_with['network'])}, {made_with['image_size']} px, {first['step']:,} steps"
    )


def show(found: dict[str, Figures]) -> str:
    """The figures as Markdown."""
    runs = list(found.values())
    seeds = ", ".join(str(run["seed"]) for run in runs)
    several = "mean and sample standard deviation over the seeds" if len(runs) > 1 else "seed"
    lines = [
        "## What the domain bit does",
        "",
        f"{describe(found)}. {several[0].upper()}{several[1:]} {seeds}. Made by "
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
        cells = [mean_and_spread([run["MAP"][name][kind] for run in runs], 1) for kind in DISTANCES]
        for kind in DISTANCES:
            changes = [run["MAP"][name][kind] - run["MAP"][right][kind] for run in runs]
            cells.append("" if name == right else mean_and_spread(changes, 2, "+"))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    chance = runs[0]["chance"]
    lines += [
        f"| *chance* | {chance:.1f} | {chance:.1f} | | |",
        "",
        "Change of the gates, in [0, 1], when the bit alone is flipped: mean over images and channels.",
        "",
        "| depth | module | "
        + " | ".join(f"{side}, {way}" for side in SIDES for way in WAYS.values())
        + " |",
        "| --- | --- |" + " --- |" * (len(SIDES) * len(WAYS)),
    ]
    for depth, module in enumerate(runs[0]["modules"]):
        cells = [
            mean_and_spread([run["gates"][side][way][depth] for run in runs], 4)
            for side in SIDES
            for way in WAYS
        ]
        lines.append(f"| {depth + 1} | {module} | {' | '.join(cells)} |")
    made_with = ", ".join(f"{option} {value}" for option, value in runs[0]["made_with"].items())
    return "\n".join([*lines, "", f"Trained with {made_with}."]) + "\n"


def draw(found: dict[str, Figures], path: Path) -> None:
    """Gates by depth on the left, MAP by bits on the right: means as lines, runs as points."""
    runs = list(found.values())
    with new_figure(path, 8.6, 4.2, describe(found).replace("; ", "\n")) as figure:
        gates, maps = figure.subplots(1, 2)
        depths = list(range(1, len(runs[0]["modules"]) + 1))
        lines = [(side, way) for way in WAYS for side in SIDES]
        for number, (side, way) in enumerate(lines):
            values = [run["gates"][side][way] for run in runs]
            style = {"color": f"C{number}", "marker": MARKERS[number], "markersize": 4}
            means = [fmean(each) for each in zip(*values, strict=True)]
            gates.plot(depths, means, label=f"gates: {side}, {WAYS[way]}", **style)
            for each in values:
                gates.plot(depths, each, linestyle="none", alpha=0.4, **style)
        gates.set(xlabel="domain-aware module, by depth", ylabel="mean change of the gates")
        gates.set_ylim(bottom=0)
        gates.xaxis.get_major_locator().set_params(integer=True)
        for number, kind in enumerate(DISTANCES, start=len(lines)):
            style = {"color": f"C{number}", "marker": MARKERS[number]}
            by_bits = [[run["MAP"][name][kind] for run in runs] for name in BITS]
            label = f"MAP: {in_words(kind)} distance"
            maps.plot([fmean(each) for each in by_bits], range(len(BITS)), label=label, **style)
            for row, each in enumerate(by_bits):
                maps.plot(each, [row] * len(each), linestyle="none", alpha=0.4, **style)
        maps.axvline(runs[0]["chance"], color="black", linestyle=":", linewidth=1.3, label="MAP: chance")
        maps.set(xlabel="MAP in percent", yticks=range(len(BITS)), yticklabels=list(BITS))
        maps.set_ylim(len(BITS) - 0.6, -0.4)
        maps.set_xlim(left=0)
        both = [axis.get_legend_handles_labels() for axis in (gates, maps)]
        handles, labels = ([each for half in both for each in half[kind]] for kind in (0, 1))
        figure.legend(handles, labels, loc="outside lower center", ncols=2)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.domain_bit",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a folder below logs/")
    try:
        found = {run: examine_run(run) for run in parser.parse_args(arguments).runs}
        check_alike(found)
    except UserError as error:
        sys.exit(f"error: {error}")
    write_json(FIGURES, found)
    write_text(TABLE, show(found))
    draw(found, PICTURE)
    print(show(found))


if __name__ == "__main__":
    main()
