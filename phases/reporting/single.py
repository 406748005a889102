"""--phase=report of one run: logs/<save_path>/report/index.html, its figures as PNGs, its numbers as JSON."""

import argparse
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

from phases import settings, trained
from phases.reporting.examined import examine
from phases.reporting.figures import draw
from phases.reporting.page import page
from phases.reporting.record import Record, record_of
from utils.files import remove_leftovers, write_json, write_text
from utils.locks import exclusive

log = logging.getLogger(__name__)


def run(options: argparse.Namespace) -> None:
    """Test the checkpoint of --pretrained_model once more, look at what it learned, and write the page."""
    trained.find(options)  # before the folder is made
    folder = settings.run_folder(options) / "report"
    with exclusive(settings.run_folder(options)):
        record = record_of(examine(options))
        write(folder, partial(draw, record), record, partial(page, record))


def write(
    folder: Path,
    draw: Callable[[Path], dict[str, Path]],
    numbers: Record,
    page: Callable[[dict[str, Path]], str],
) -> None:
    """Write figures, report.json and index.html to `folder`; `draw` gives the figures that `page` shows."""
    remove_leftovers(folder)
    figures = draw(folder)
    for old in set(folder.glob("*.png")) - set(figures.values()):  # of another data set or attention
        old.unlink()
    write_json(folder / "report.json", numbers)
    write_text(folder / "index.html", page(figures))
    log.info("page in %s, its figures and report.json beside it", folder / "index.html")
