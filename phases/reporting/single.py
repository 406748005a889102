"""--phase=report of one run: logs/<save_path>/report/index.html, its figures as PNGs, its numbers as JSON."""

import argparse
import logging

from phases import settings, trained
from phases.reporting.examined import examine
from phases.reporting.figures import draw
from phases.reporting.page import page
from phases.reporting.record import record_of
from utils.files import remove_leftovers, write_json, write_text
from utils.locks import exclusive

log = logging.getLogger(__name__)


def run(options: argparse.Namespace) -> None:
    """Test the checkpoint of --pretrained_model once more, look at what it learned, and write the page."""
    trained.find(options)  # before the folder is made
    folder = settings.run_folder(options) / "report"
    with exclusive(settings.run_folder(options)):
        record = record_of(examine(options))
        remove_leftovers(folder)
        figures = draw(record, folder)
        for old in set(folder.glob("*.png")) - set(figures.values()):  # of another data set or attention
            old.unlink()
        write_json(folder / "report.json", record)
        write_text(folder / "index.html", page(record, figures))
    log.info("page in %s, its figures and report.json beside it", folder / "index.html")
