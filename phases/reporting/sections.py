"""The sections of a run's page that show figures: each takes its record and the paths of its PNGs."""

from collections.abc import Mapping
from pathlib import Path

from phases.reporting.figures import HEATMAP, confused_pairs
from phases.reporting.record import Record
from utils.page import Html, element, folded, paragraph, picture, pictures, table

Figures = Mapping[str, Path]  # by the names that figures.draw gives them

NO_TRAINING = "This run has no log/scalars.csv, so there are no training curves."
NO_CODES = "There are no hash codes: no class centres of two categories to fit them on, or no --hash_bits."
NO_BIT = (
    "With --attention={} there are no domain-aware modules: the network treats sketches and photos alike, "
    "and there is no bit to flip."
)
TRAINING = {
    "training-loss": ("Loss by training step", "Loss (cross-entropy)."),
    "training-rate": ("Learning rate by training step", "Learning rate of Adam."),
    "training-margin": (
        "Share of the margin by training step",
        "Share of the margin that is applied, from 0 (none) to 1 (all of it).",
    ),
    "training-speed": ("Images per second by training step", "Training images, of both domains, per second."),
}


def training(record: Record, figures: Figures) -> list[Html]:
    if not record["training"]:
        return [paragraph(NO_TRAINING)]
    definition = record["definitions"]["training"]
    first, last = (f"{record['training']['loss'][place]:.3g}" for place in (0, -1))
    return [
        pictures(
            *(
                picture(
                    figures[name],
                    f"{alt}, from {first} to {last}" if name == "training-loss" else alt,
                    f"{caption} {definition}",
                )
                for name, (alt, caption) in TRAINING.items()
                if name in figures
            )
        )
    ]


def curves(record: Record, figures: Figures) -> list[Html]:
    precision = record["precision_recall"]["precision"]
    by_rank = record["precision_at"]
    return [
        pictures(
            picture(
                figures["precision-recall"],
                f"Precision by recall: {precision[0]:.1f} percent at the first hit, {precision[50]:.1f} at "
                f"half of the hits, {precision[-1]:.1f} at the last",
                record["definitions"]["precision_recall"],
            ),
            picture(
                figures["precision-at-k"],
                f"P@K: from {by_rank['precision'][0]:.1f} percent for K = 1 to "
                f"{by_rank['precision'][-1]:.1f} for K = {by_rank['k'][-1]}",
                record["definitions"]["precision_at"],
            ),
        )
    ]


def categories(record: Record, figures: Figures) -> list[Html]:
    ordered = sorted(record["per_category_MAP"].items(), key=lambda pair: (-pair[1], pair[0]))
    (best, high), (worst, low) = ordered[0], ordered[-1]
    definition = record["definitions"]["per_category_MAP"]
    captions = {
        "categories": definition,
        "categories-best": f"{definition} The best of {len(ordered)}.",
        "categories-worst": f"{definition} The worst of {len(ordered)}.",
    }
    alt = f"MAP by category, sorted: from {best} ({high:.1f} percent) to {worst} ({low:.1f})"
    shown = [picture(figures[name], alt, text) for name, text in captions.items() if name in figures]
    return [
        pictures(*shown),
        folded(f"All {len(ordered)} categories as a table", table(["category", "MAP, percent"], ordered)),
    ]


def queries(record: Record, figures: Figures) -> list[Html]:
    content: list[Html] = [paragraph(record["definitions"]["queries"])]
    for name in ("best", "worst"):
        found = record["queries"][name]
        looked = len(found[0]["photos"])
        caption = (
            f"The {len(found)} {name} queries, one a row, and their {looked} nearest photos, nearest first. "
            "Photos of the query's category have a solid blue frame, others a dashed orange one."
        )
        rows = [
            (
                each["category"],
                each["AP"],
                sum(photo["category"] == each["category"] for photo in each["photos"]),
                each["sketch"],
            )
            for each in found
        ]
        content += [
            element("h3", f"The {name}"),
            pictures(picture(figures[f"queries-{name}"], caption, caption, size=1, least=1)),
            table(["category", "AP, percent", f"hits of {looked}", "sketch"], rows, f"The {name} queries"),
        ]
    return content


def confusion(record: Record, figures: Figures) -> list[Html]:
    pairs = confused_pairs(record["confusion"])
    content = [pictures(confusion_picture(record, figures["confusion"]))]
    if not pairs:
        return [*content, paragraph("No nearest photo is of another category than its sketch.")]
    caption = f"The {len(pairs)} most confused pairs of categories"
    return [*content, table(["category of the sketch", "of the photos", "percent"], pairs, caption)]


def confusion_picture(record: Record, path: Path) -> Html:
    pairs = confused_pairs(record["confusion"], 3)
    text = "; ".join(f"{row} finds {column} ({value:.0f} percent)" for row, column, value in pairs)
    caption = record["definitions"]["confusion"]
    if len(record["confusion"]["rows"]) > HEATMAP:
        caption += f" Shown are the {HEATMAP} categories whose own photos are found least."
    return picture(path, f"Nearest photos by category. Most confused: {text or 'none'}", caption, least=0.5)


def feature_map(record: Record, figures: Figures) -> list[Html]:
    found = record["map"]
    if "missing" in found:
        return [paragraph(f"There is no map: {found['missing']}, and make the report again.")]
    return [pictures(map_picture(record, figures["map"]))]


def map_picture(record: Record, path: Path) -> Html:
    found = record["map"]
    shown, every = found["categories_shown"], found["categories"]
    caption = (
        f"{record['definitions']['map']} {len(found['points']):,} images: circles are photos, triangles "
        "sketches. The name of a category stands above its photos."
    )
    if shown < every:
        caption += f" {shown} of the {every} categories are shown, drawn by the seed."
    return picture(path, "Map of the features of photos and sketches, by category", caption, least=0.55)


def distances(record: Record, figures: Figures) -> list[Html]:
    shown = [distance_picture(record, figures["distances"])]
    if record["separation"]:
        shares = ", ".join(
            f"{name} {each['share']:.0f} percent" for name, each in record["separation"].items()
        )
        alt = f"Categories whose largest inner distance is below their smallest outer one: {shares}"
        definition = record["definitions"]["separation"]
        shown.append(picture(figures["margin-condition"], alt, definition, least=0.7))
    return [pictures(*shown)]


def distance_picture(record: Record, path: Path) -> Html:
    found = record["distances"]
    medians = ", ".join(f"{name} {value:.3g}" for name, value in found["median"].items())
    caption = (
        f"{record['definitions']['distances']} {found['unit']}; {found['sketches']:,} sketches by "
        f"{found['photos']:,} photos."
    )
    return picture(path, f"Histograms of distances; medians: {medians}", caption)


def hash_codes(record: Record, figures: Figures) -> list[Html]:
    if not record["hash"]:
        return [paragraph(NO_CODES)]
    text = ", ".join(f"{value:.1f} with {bits} bits" for bits, value in record["hash"].items())
    features = f"Dotted: by the features themselves, {record['metrics']['MAP']:.1f} percent."
    caption = f"{record['definitions']['hash']} {features}"
    return [pictures(picture(figures["hash"], f"MAP in percent by length of the codes: {text}", caption))]


def domain_bit(record: Record, figures: Figures) -> list[Html]:
    found, definitions = record["domain_bit"], record["definitions"]
    if not found:
        return [paragraph(NO_BIT.format(record["options"]["attention"]))]
    right, wrong = found["MAP"]["right bit"], found["MAP"]["wrong bit"]
    modules = found["modules"]
    largest = max(modules, key=lambda each: each["sketches"]["network"])["module"]
    images = f"{found['sketches']:,} test sketches and {found['photos']:,} photos, drawn by the seed."
    rows = [
        (
            str(depth),
            each["module"],
            *(f"{each[side][what]:.4f}" for side in ("sketches", "photos") for what in ("network", "alone")),
            f"{each['offset']['mean_absolute']:.4f}",
        )
        for depth, each in enumerate(modules, start=1)
    ]
    changes = ("sketches, whole network", "sketches, alone", "photos, whole network", "photos, alone")
    header = ["depth", "module", *changes, "offset, mean of the absolute values"]
    return [
        paragraph(
            f"With their own bit the MAP of {found['sketches']:,} test sketches is {right:.1f} percent, with "
            f"the wrong one {wrong:.1f}. {definitions['wrong_bit']}"
        ),
        pictures(
            picture(
                figures["gates"],
                f"Change of the gates by module, for sketches the largest in {largest}",
                f"{definitions['gates']} {images}",
            ),
            picture(figures["offset"], "Offset of the logits by module", definitions["offset"]),
        ),
        folded("All modules as a table", table(header, rows)),
    ]
