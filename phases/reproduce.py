"""--phase=reproduce: train what a table of experiments still lacks, test it, and write the table.

Every training is one of --phase=train, in a folder of its own below logs/<save_path>/, so each can be looked
at, tested and continued by itself. The command can be stopped and given again, and given several times at
once: a run that another process is at is left to it.
"""

import argparse
import logging

from datasets.annotations import load_annotation
from experiments import TABLES, load_table
from experiments.table import Table
from phases import test, train
from phases.reporting import tables
from phases.runs import Run, planned
from utils.errors import Diverged, UserError
from utils.locks import Busy

log = logging.getLogger(__name__)


def run(options: argparse.Namespace) -> int:
    """Run what the tables of --table lack. Returns an exit status as a training does."""
    if not options.table:
        raise UserError(f"--phase=reproduce needs --table, one or more of {', '.join(sorted(TABLES))}")
    plans = {name: planned(name, load_table(name), options) for name in options.table}
    lists = load_annotation(options.data_path, options.anno_path, options.dataset).digest()
    for name, runs in plans.items():
        tables.check_lists(load_table(name), runs, lists)
    for name, runs in plans.items():
        exit_code = reproduce(name, runs, options)
        if exit_code:
            return exit_code
    return 0


def reproduce(name: str, runs: list[Run], options: argparse.Namespace) -> int:
    """Make what is missing of `runs`, and write the table `name` at the start and after each of them."""
    table = load_table(name)
    path = tables.write(name, table, runs, options)
    elsewhere = 0
    for number, each in enumerate(runs, start=1):
        if finished(each, table):
            continue
        what = f"{each.row.label}, seed {each.options.seed}"
        log.info("\n%s, run %d of %d: %s", table.title, number, len(runs), what)
        try:
            exit_code = complete(each, table)
        except Busy as busy:
            log.info("%s: left to it", busy)
            elsewhere += 1
            continue
        if exit_code:
            return exit_code
        tables.write(name, table, runs, options)
    if elsewhere:
        log.info("left to other processes: %d runs; --phase=report writes the table again", elsewhere)
    log.info("table in %s", path)
    return 0


def finished(each: Run, table: Table) -> bool:
    """Whether nothing is left to do for this run."""
    return each.diverged or len(each.records(table.columns)) == len(table.columns)


def complete(each: Run, table: Table) -> int:
    """Train, and make the tests that the columns of `table` need; a divergence is written down."""
    try:
        exit_code = train.run(each.options)
        if exit_code:
            return exit_code
        for column in table.columns:
            if not each.records([column]):
                test.run(each.test_options(column))
    except Diverged as error:
        log.warning("given up: %s", error)
        each.give_up(error)
    return 0
