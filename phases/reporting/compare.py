"""--phase=report of several runs: one page with all of them side by side, and the published numbers.

Written to logs/<first>/report/compared-with-<others>/: index.html, the figures as PNGs, report.json.
"""

import argparse
import copy
import hashlib
import logging
from functools import partial

from phases import settings, trained
from phases.reporting.compare_figures import draw
from phases.reporting.compare_page import page
from phases.reporting.examined import examine
from phases.reporting.record import Record, record_of
from phases.reporting.single import write
from utils.errors import UserError
from utils.locks import exclusive

log = logging.getLogger(__name__)

MOST = 7  # runs: as many colours as can be told apart
LETTERS = "ABCDEFG"


def run(options: argparse.Namespace) -> None:
    """Test the checkpoint of --pretrained_model of every run once more, and write the page of all."""
    names = [options.save_path, *options.compared]
    if len(set(names)) < len(names):
        raise UserError(f"--save_path names a run twice: {' '.join(names)}")
    if len(names) > MOST:
        raise UserError(f"--save_path names {len(names)} runs; at most {MOST} can be told apart on one page")
    each_options = []
    for name in names:
        each_options.append(copy.copy(options))
        each_options[-1].save_path = name
        trained.find(each_options[-1])  # before anything is computed
    letters = LETTERS[: len(names)]
    records = {letter: examined(one) for letter, one in zip(letters, each_options, strict=True)}
    unlike = incomparable(records)
    for line in unlike:
        log.warning("warning: %s", line)
    folder = settings.run_folder(options) / "report" / folder_name(options.compared)
    with exclusive(settings.run_folder(options)):
        numbers = {"runs": records, "not_comparable": unlike}
        write(folder, partial(draw, records), numbers, partial(page, records, unlike=unlike))


def examined(options: argparse.Namespace) -> Record:
    with exclusive(settings.run_folder(options)):
        return record_of(examine(options))


def incomparable(records: dict[str, Record]) -> list[str]:
    """Why the figures of these runs do not compare, as sentences; none if they do."""
    reasons = []
    if len({record["dataset"] for record in records.values()}) > 1:
        reasons.append("data sets")
    elif len({record["lists"] for record in records.values()}) > 1:
        reasons.append("annotation lists")
    return [
        f"these runs were tested on different {reason} "
        f"({'; '.join(each['run'] + ': ' + size(each) for each in records.values())}): "
        "their figures are not comparable"
        for reason in reasons
    ]


def size(record: Record) -> str:
    counts = record["counts"]
    return f"{record['dataset']}, {counts['queries']:,} queries, {counts['gallery']:,} photos"


def folder_name(others: list[str]) -> str:
    """A folder's name that says what a run is compared with; a long one ends in a hash."""
    name = "compared-with-" + "+".join(other.replace("/", "_") for other in others)
    if len(name) <= 100:
        return name
    return f"{name[:90]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
