"""--phase=report: a page about one run, a page that compares several, or tables of experiments.

Which one depends on what --save_path names: with --table, or for a folder of `--phase=reproduce`, tables; for
a run with a checkpoint, its page; for several runs, one page about all of them.
"""

import argparse

from phases import settings
from phases.reporting import compare, single, tables
from utils import checkpoints, published
from utils.errors import UserError

FOR_TABLES = {"seeds", "lr_of"}


def run(options: argparse.Namespace) -> None:
    """Write the report that the options ask for."""
    if options.table or not (options.compared or is_run(options)):
        tables.run(options)
        return
    for name in sorted(options.given & FOR_TABLES):
        raise UserError(f"--{name} is for tables of experiments (--table), not for the page of a run")
    if options.compared:
        compare.run(options)
    else:
        single.run(options)


def is_run(options: argparse.Namespace) -> bool:
    """Whether the folder is that of one run: it was tested, or there is a checkpoint."""
    folder = settings.run_folder(options)
    tested = (folder / "log" / "result.json").is_file()
    return tested or bool(
        checkpoints.saved_steps(folder / "model") or published.saved_pairs(folder / "model")
    )
