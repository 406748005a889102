"""The tables of docs/performance.md, written from benchmarks/results/*.json between their marks."""

import json
import re
from pathlib import Path
from typing import Any

from benchmarks.measure import RESULTS
from utils.files import write_text

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
MARK = re.compile(r"(<!-- results: (?P<section>[^>]+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def write_tables() -> None:
    """Fill every `<!-- results: SECTION -->` of the page from all machines that have that section."""
    machines = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]

    def filled(match: re.Match) -> str:
        found = [each for each in machines if match["section"] in each]
        parts = [table(each["machine"], each[match["section"]]) for each in found]
        return match[1] + ("\n".join(parts) or "*Not measured yet.*\n") + match[3]

    write_text(PAGE, MARK.sub(filled, PAGE.read_text(encoding="utf-8")))


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
