"""What the long tests tried, how often, and what came of it: the table of docs/reliability.md.

A long test takes the fixture `ledger` and calls it last, when all its assertions have held:

    ledger(1, "training: SIGKILL at random moments", times=50, outcome="final weights equal bit for bit")

python -m tests.reliability.ledger        write the table from what `make test-long` left in logs/reliability
"""

import json
import re
import sys
from pathlib import Path

from utils.files import write_json, write_text

PROJECT = Path(__file__).parents[2]
FOLDER = PROJECT / "logs" / "reliability"
PAGE = PROJECT / "docs" / "reliability.md"
MARK = re.compile(r"(<!-- ledger -->\n).*?(<!-- end -->)", re.DOTALL)
HEAD = "| | what was tried | how often | what came of it | minutes |\n|---|---|---|---|---|\n"


def note(test: str, point: int, tried: str, times: int, outcome: str, seconds: float) -> None:
    """Write down one row; the same test run again replaces its own."""
    row = {"point": point, "tried": tried, "times": times, "outcome": outcome, "seconds": seconds}
    write_json(FOLDER / f"{re.sub(r'[^0-9A-Za-z_-]+', '-', test)}.json", row)


def write_table() -> None:
    """Fill the table of the page with all rows, by point."""
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))]
    if not rows:
        sys.exit(f"nothing in {FOLDER}: run make test-long first")
    lines = [
        "| {point} | {tried} | {times:,} | {outcome} | {minutes:.1f} |\n".format(
            **row, minutes=row["seconds"] / 60
        )
        for row in sorted(rows, key=lambda row: row["point"])
    ]
    table = HEAD + "".join(lines)
    write_text(PAGE, MARK.sub(lambda match: match[1] + table + match[2], PAGE.read_text(encoding="utf-8")))


if __name__ == "__main__":
    write_table()
