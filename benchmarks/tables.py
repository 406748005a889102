"""The tables and plots of docs/performance.md, from benchmarks/results/*.json."""

import json
import re
from pathlib import Path
from typing import Any

from benchmarks.measure import RESULTS
from utils.files import write_text
from utils.plots import Line, save_lines

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
MARK = re.compile(r"(<!-- results: (?P<section>[^>]+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def write_tables() -> None:
    """Write the results of every machine between the marks `<!-- results: SECTION -->` and `<!-- end -->`."""
    machines = read_results()

    def fill(match: re.Match) -> str:
        if match["section"] == "summary":
            return match[1] + (format_summary(machines) or "*Not measured yet.*\n") + match[3]
        name = match["section"]
        parts = [format_section(machine["machine"], machine[name]) for machine in machines if name in machine]
        return match[1] + ("\n".join(parts) or "*Not measured yet.*\n") + match[3]

    write_text(PAGE, MARK.sub(fill, PAGE.read_text(encoding="utf-8")))


def read_results() -> list[dict[str, Any]]:
    """The results of every machine."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]


def draw_figures() -> None:
    """Plot cost over the size of the gallery, loss over training steps, and speed over the batch size."""
    for machine in read_results():
        device = "cuda" if machine["machine"].get("gpu") else "cpu"
        if growth := machine.get("evaluation growth"):
            panels: dict[str, dict[str, Line]] = {
                name: {width: (growth["photos"], values) for width, values in growth[name].items()}
                for name in ("seconds per query", "MiB beside the features")
            }
            save_lines(
                panels,
                PAGE.parent / "performance_growth.png",
                xlabel="photos in the gallery",
                title=f"Exact evaluation: {growth['input']}, on the CPU",
                log="xy",
                markers=True,
            )
        if curves := machine.get("loss curves"):
            save_lines(
                {
                    "loss, mean over 20 steps": {
                        f"{name}, {len(seeds)} seeds": (  # with a gap after each seed
                            [20 * place for losses in seeds for place in range(1, len(losses) + 2)],
                            [loss for losses in seeds for loss in (*losses, None)],
                        )
                        for name, seeds in curves["every 20 steps"].items()
                    }
                },
                PAGE.parent / f"performance_loss_{device}.png",
                xlabel="training step",
                title=f"The same batches, plain and with {' '.join(curves['options of the fast way'])}",
            )
        if growth := machine.get("training growth"):
            speeds = growth["images per second by size"]
            save_lines(
                {
                    "training images per second": {
                        f"{size} px": (growth["batch sizes"], row) for size, row in speeds.items()
                    }
                },
                PAGE.parent / f"performance_training_{device}.png",
                xlabel="sketches (and as many photos) a step",
                title=f"Training {growth['input']}",
                markers=True,
            )


def format_section(machine: dict[str, Any], section: dict[str, Any]) -> str:
    """One section of one machine's results as Markdown: a table of its variants, and its other values."""
    where = machine.get("gpu") or f"{machine['cpu']}, {machine['cores']} cores"
    lines = [f"*{section['input']}. {where}, torch {machine['torch']}, {section['date']}.*", ""]
    if "variants" in section:
        unit = section["unit"]
        many = PLURAL.get(unit, f"{unit}s")
        lines += [
            f"| | ms per {unit} | {many} per second | times the baseline's speed | peak MiB |",
            "|---|---|---|---|---|",
        ]
        for row in section["variants"]:
            role = f" ({row['role']})" if row["role"] else ""
            times, peak, seconds = row["times_the_baseline"], row["peak_mib"], row[f"seconds_per_{unit}"]
            lines.append(
                f"| {row['name']}{role} | {format_number(1000 * seconds)} | {format_number(1 / seconds)} | "
                f"{f'{times:.3g}' if times else ''} | {f'{peak:.0f}' if peak is not None else ''} |"
            )
        lines.append("")
    rest = {name: value for name, value in section.items() if name not in HANDLED}
    for name, value in rest.items():
        if isinstance(value, float | int | str | list):
            lines.append(f"- {name}: {format_value(value)}")
        elif isinstance(value, dict) and all(isinstance(row, list) for row in value.values()):
            columns = name.split(", ")
            if len(columns) > 1:  # the name lists the columns of a table
                lines += [f"| | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
                lines += [f"| {key} | {' | '.join(map(format_value, row))} |" for key, row in value.items()]
            else:
                lines += [f"- {name}: {key} {format_value(row)}" for key, row in value.items()]
    return "\n".join(lines).rstrip() + "\n"


# The first table of the page: section of the results, task, and how the two compared variants' names start
SUMMARY = (
    ("evaluation", "Test: rank all photos, all metrics", "this program: ", "formulas taken literally"),
    ("ranking", "Average precision of one ranking", "this program", "scikit-learn"),
    ("hash ranking", "Rank all photos by 128 bits, all metrics", "this program", "FAISS"),
    (
        "hash fit, 125 classes",
        "Fit of the hash codes, 125 classes",
        "this program",
        ("published arithmetic", "formulas taken literally"),  # the second is from runs with the identity
    ),
    ("training, resnet18", "Training step", "this program", "plain"),
    ("training, resnext101", "Training step", "this program", "plain"),
    ("training, resnext101, batch 22", "Training step", "this program", "plain"),
    ("training, resnext101, batch 128", "Training step", "this program", "plain"),
    ("input: photo train", "Read photos for training", "this program", "Pillow"),
    ("input: photo train", "The same with `--cache_images`", "cached photos", "Pillow"),
    ("input: TU-Berlin sketch train", "Read TU-Berlin's sketches for training", "this program", "Pillow"),
    ("input: TU-Berlin sketch train", "The same with `--cache_images`", "cached sketches", "Pillow"),
)


def format_summary(machines: list[dict[str, Any]]) -> str:
    """A row for each entry of `SUMMARY` and each machine with results for it; empty if there are none."""
    lines = []
    for section, what, *names in SUMMARY:
        for machine in machines:
            result = machine.get(section)
            if result is None:
                continue
            ours, other = (
                next(row for row in result["variants"] if row["name"].startswith(name)) for name in names
            )
            unit = result["unit"]
            seconds, other_seconds = ours[f"seconds_per_{unit}"], other[f"seconds_per_{unit}"]
            times = other_seconds / seconds
            lines.append(
                f"| {what} | {result['input']} | {format_number(1000 * seconds)} ms per {unit} | "
                f"{format_number(1000 * other_seconds)} ms, {other['name']} | {times:.3g} |\n"
            )
    if not lines:
        return ""
    head = "| what | input | this program | instead of | times faster |\n|---|---|---|---|---|\n"
    return head + "".join(lines)


PLURAL = {"query": "queries"}
HANDLED = ("variants", "unit", "input", "date", "images_per_step", "every 20 steps")


def format_number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def format_value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(format_value, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    write_tables()
    draw_figures()
