"""Writes docs/options.md: every option with its help text and the phases that accept it.

python -m options.page
"""

import argparse

from options.declarations import ALL_PHASES, GROUPS, Option
from utils.files import PROJECT, write_text

PAGE = PROJECT / "docs" / "options.md"
INTRODUCTION = """# Options

Written by `python -m options.page`. `python main.py --phase=serve --help` shows the options of one phase.

Options of the network, the data and the loss are read from the checkpoint if there is one: test, index,
search, serve, report and export accept them, but they must agree with the checkpoint. `report` accepts those
of `reproduce` for its tables. Hyphens in names count as underscores. `@FILE` is replaced by the options in
that file, one argument per line; empty lines and lines that begin with # are skipped.
"""


def build_page() -> str:
    """The page as Markdown: a table for each group; the phases are empty if all accept the option."""
    parts = [INTRODUCTION]
    for title, declared in GROUPS.items():
        lines = [
            f"## {title}",
            "",
            "| option | values | default | meaning | phases |",
            "|---|---|---|---|---|",
        ]
        parts.append("\n".join([*lines, *map(format_row, declared)]) + "\n")
    return "\n".join(parts)


def format_row(option: Option) -> str:
    phases = "" if option.shown == ALL_PHASES else ", ".join(option.shown)
    meaning = escape_cell(option.arguments["help"])
    cells = (f"`--{option.name}`", describe_values(option), describe_default(option), meaning, phases)
    return f"| {' | '.join(cells)} |"


def describe_values(option: Option) -> str:
    arguments = option.arguments
    if "choices" in arguments and "metavar" not in arguments:
        return ", ".join(f"`{choice}`" for choice in arguments["choices"])
    if option.is_flag or arguments.get("action") is argparse.BooleanOptionalAction:
        return "on if given"
    kind = "text" if "choices" in arguments else getattr(arguments.get("type"), "__name__", "text")
    return kind + (", one or more" if arguments.get("nargs") == "+" else "")


def describe_default(option: Option) -> str:
    if option.default is None:
        return "off" if option.is_flag or "action" in option.arguments else ""
    if isinstance(option.default, list):
        return f"`{' '.join(map(str, option.default))}`"
    return f"`{option.default}`"


def escape_cell(text: str) -> str:
    """A help text as a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("%%", "%")


if __name__ == "__main__":
    write_text(PAGE, build_page())
