"""docs/options.md: every option, as --help has it, and the phases that take it.

python -m phases.options_page        write the page anew
"""

import argparse

from phases.options import PHASES_OF
from phases.parser import PROJECT, build_parser
from utils.files import write_text

PAGE = PROJECT / "docs" / "options.md"
INTRODUCTION = """# Options

Written by `python -m phases.options_page` from what `python main.py --help` prints. Options of the network,
the data and the loss are read from the checkpoint where there is one; given again, they must agree with it.
"""


def page() -> str:
    """The page as Markdown: a table for each group, without phases where all take an option."""
    parts = [INTRODUCTION]
    for group in build_parser()._action_groups[2:]:  # after argparse's own two
        lines = [f"## {group.title}", ""]
        if group.description:
            lines += [f"{group.description}.", ""]
        lines += ["| option | values | default | what | phases |", "|---|---|---|---|---|"]
        lines += [row(action) for action in group._group_actions]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def row(action: argparse.Action) -> str:
    phases = ", ".join(PHASES_OF.get(action.dest, ()))
    cells = f"`--{action.dest}`", values(action), default(action), escaped(action.help or ""), phases
    return f"| {' | '.join(cells)} |"


def values(action: argparse.Action) -> str:
    if action.choices and action.metavar is None:
        return ", ".join(f"`{each}`" for each in action.choices)
    if action.nargs == 0:
        return "on if given"
    kind = getattr(action.type, "__name__", "text") if action.type else "text"
    return {"Path": "path", "float": "number"}.get(kind, kind) + (
        ", one or more" if action.nargs == "+" else ""
    )


def default(action: argparse.Action) -> str:
    """As text; the folder of lists as it is below the project."""
    if action.default is None:
        return "off" if action.nargs == 0 else ""
    if isinstance(action.default, list):
        return f"`{' '.join(map(str, action.default))}`"
    return f"`{str(action.default).removeprefix(f'{PROJECT}/')}`"


def escaped(text: str) -> str:
    """`text` in the cell of a table."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("%%", "%")


if __name__ == "__main__":
    write_text(PAGE, page())
