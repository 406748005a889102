"""docs/options.md: every option, as --help has it, and the phases that take it.

python -m options.page        write the page
"""

import argparse

from options.declarations import ALL, GROUPS, Option
from utils.files import PROJECT, write_text

PAGE = PROJECT / "docs" / "options.md"
INTRODUCTION = """# Options

Written by `python -m options.page`. `python main.py --phase=serve --help` shows those of
one phase.

Options of the network, the data and the loss are read from the checkpoint where there is one: test, index,
search, serve, report and export take them, too, but given again they must agree with it. `report` takes
those of `reproduce`, for its tables. Hyphens in names count as underscores. `@FILE` stands for the options
in that file, an argument a line; empty lines and lines that begin with # are skipped.
"""


def page() -> str:
    """The page as Markdown: a table for each group, without phases where all take an option."""
    parts = [INTRODUCTION]
    for title, declared in GROUPS.items():
        lines = [f"## {title}", "", "| option | values | default | what | phases |", "|---|---|---|---|---|"]
        parts.append("\n".join([*lines, *map(row, declared)]) + "\n")
    return "\n".join(parts)


def row(option: Option) -> str:
    phases = "" if option.shown == ALL else ", ".join(option.shown)
    cells = (f"`--{option.name}`", values(option), default(option), escape(option.arguments["help"]), phases)
    return f"| {' | '.join(cells)} |"


def values(option: Option) -> str:
    given = option.arguments
    if "choices" in given and "metavar" not in given:
        return ", ".join(f"`{each}`" for each in given["choices"])
    if option.is_flag or given.get("action") is argparse.BooleanOptionalAction:
        return "on if given"
    kind = "text" if "choices" in given else getattr(given.get("type"), "__name__", "text")
    return kind + (", one or more" if given.get("nargs") == "+" else "")


def default(option: Option) -> str:
    if option.default is None:
        return "off" if option.is_flag or "action" in option.arguments else ""
    if isinstance(option.default, list):
        return f"`{' '.join(map(str, option.default))}`"
    return f"`{option.default}`"


def escape(text: str) -> str:
    """`text` for the cell of a table."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("%%", "%")


if __name__ == "__main__":
    write_text(PAGE, page())
