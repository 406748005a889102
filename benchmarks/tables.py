"""The tables and pictures of docs/performance.md, made from benchmarks/results/*.json."""

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
    """Fill every `<!-- results: SECTION -->` of the page from all machines that have that section."""
    machines = read_results()

    def filled(match: re.Match) -> str:
        if match["section"] == "summary":
            return match[1] + (summary(machines) or "*Not measured yet.*\n") + match[3]
        found = [each for each in machines if match["section"] in each]
        parts = [table(each["machine"], each[match["section"]]) for each in found]
        return match[1] + ("\n".join(parts) or "*Not measured yet.*\n") + match[3]

    write_text(PAGE, MARK.sub(filled, PAGE.read_text(encoding="utf-8")))


def read_results() -> list[dict[str, Any]]:
    """What was measured, machine by machine."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]


def draw_pictures() -> None:
    """Draw what was measured over gallery sizes, training steps and batch sizes."""
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
                        f"{name}, {len(seeds)} seeds": (  # with a gap behind each seed
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


def table(machine: dict[str, Any], section: dict[str, Any]) -> str:
    """One section of one machine, as Markdown: its variants, and what else it found."""
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
            times, peak, each = row["times_the_baseline"], row["peak_mib"], row[f"seconds_per_{unit}"]
            lines.append(
                f"| {row['name']}{role} | {rounded(1000 * each)} | {rounded(1 / each)} | "
                f"{f'{times:.3g}' if times else ''} | {f'{peak:.0f}' if peak is not None else ''} |"
            )
        lines.append("")
    rest = {name: value for name, value in section.items() if name not in HANDLED}
    for name, value in rest.items():
        if isinstance(value, float | int | str | list):
            lines.append(f"- {name}: {shown(value)}")
        elif isinstance(value, dict) and all(isinstance(each, list) for each in value.values()):
            heads = name.split(", ")
            if len(heads) > 1:  # names its columns
                lines += [f"| | {' | '.join(heads)} |", "|---" * (1 + len(heads)) + "|"]
                lines += [f"| {key} | {' | '.join(map(shown, each))} |" for key, each in value.items()]
            else:
                lines += [f"- {name}: {key} {shown(each)}" for key, each in value.items()]
    return "\n".join(lines).rstrip() + "\n"


# What stands first on the page: section of the results, what is measured, this program's variant, the other
SUMMARY = (
    ("evaluation", "Test: rank all photos, all metrics", "this program: ", "formulas taken literally"),
    ("ranking", "Average precision of one ranking", "this program", "scikit-learn"),
    ("hash ranking", "Rank all photos by 128 bits, all metrics", "this program", "FAISS"),
    (
        "hash fit, 125 classes",
        "Fit of the hash codes, 125 classes",
        "this program",
        "formulas taken literally",
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


def summary(machines: list[dict[str, Any]]) -> str:
    """One row for each of `SUMMARY` and each machine that has it; empty if none has any."""
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
            seconds, instead = ours[f"seconds_per_{unit}"], other[f"seconds_per_{unit}"]
            lines.append(
                f"| {what} | {result['input']} | {rounded(1000 * seconds)} ms per {unit} | "
                f"{rounded(1000 * instead)} ms, {other['name']} | {instead / seconds:.3g} |\n"
            )
    if not lines:
        return ""
    head = "| what | input | this program | instead of | times faster |\n|---|---|---|---|---|\n"
    return head + "".join(lines)


PLURAL = {"query": "queries"}
HANDLED = ("variants", "unit", "input", "date", "images_per_step", "every 20 steps")


def rounded(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(shown, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    write_tables()
    draw_pictures()
