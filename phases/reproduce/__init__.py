"""--phase=reproduce: train what a table of experiments still lacks, test it, and write the table.

Every training is one of --phase=train, in a folder of its own below logs/<save_path>/, so each can be looked
at, tested and continued by itself. The command can be stopped and given again, and given several times at
once: a run that another process is at is left to it. --dry_run lists the runs and how far each is.
"""

import argparse
import logging
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from datasets.annotations import load_annotation
from experiments import TABLES, load_table
from experiments.table import Table
from phases import test, train
from phases.reproduce import tables
from phases.reproduce.runs import Run, plan_runs
from run.config import Config, config_from_options
from run.next_command import announce
from utils import checkpoint_files
from utils.errors import Diverged, UserError
from utils.locks import Locked

log = logging.getLogger(__name__)

Plans = dict[str, list[Run]]  # name of a table -> its runs

FINISHED, DIVERGED, UNTESTED, BEGUN, NOT_BEGUN = "finished", "diverged", "tests missing", "begun", "not begun"


def run(options: argparse.Namespace) -> int:
    """Run what the tables of --table lack. Returns an exit status as a training does."""
    config = config_from_options(options)
    if not config.tables.table:
        raise UserError(f"--phase=reproduce needs --table, one or more of {', '.join(sorted(TABLES))}")
    plans = {name: plan_runs(name, load_table(name), config) for name in config.tables.table}
    if options.dry_run:
        list_runs(plans, config)
        given = {name: getattr(options, name) for name in options.given - {"phase", "dry_run"}}
        announce("reproduce", config, dry_run=given)
        return 0
    lists = load_annotation(config.data.data_path, config.data.anno_path, config.data.dataset).digest()
    for name, runs in plans.items():
        tables.check_lists(load_table(name), runs, lists)
    forecast = Forecast(plans)
    for name in plans:
        exit_code = reproduce(name, forecast, config)
        if exit_code:
            return exit_code
    announce("reproduce", config)
    return 0


@dataclass
class Forecast:
    """How long the runs that are left will take, by those that this call has made."""

    plans: Plans
    seconds: list[float] = field(default_factory=list)  # that each run took
    left_out: set[Path] = field(default_factory=set)  # folders in which other processes are at work

    def describe(self) -> str:
        """As in ", about 2 h 10 min left", before a run is begun; empty while no run has been made."""
        if not self.seconds:
            return ""
        folders = {
            each.folder
            for name, runs in self.plans.items()
            for each in runs
            if not is_finished(each, load_table(name))
        }
        return f", {describe_duration(fmean(self.seconds) * len(folders - self.left_out))} left"


def describe_duration(seconds: float) -> str:
    """As in "about 2 h 10 min"; from a day on in days and hours."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute"
    if minutes < 60:
        return f"about {minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"about {hours} h {minutes} min"
    return "about {} d {} h".format(*divmod(round(seconds / 3600), 24))


def reproduce(name: str, forecast: Forecast, config: Config) -> int:
    """Make the missing runs of the table `name`, and write it at the start and after each of them."""
    table, runs = load_table(name), forecast.plans[name]
    path = tables.write(name, table, runs, config)
    elsewhere = 0
    for number, each in enumerate(runs, start=1):
        if is_finished(each, table):
            continue
        what = f"{each.row.label}, seed {each.config.seed}"
        left = forecast.describe()
        log.info("\n%s, run %d of %d: %s%s", table.title, number, len(runs), what, left)
        start = time.monotonic()
        try:
            exit_code = complete(each, table)
        except Locked as busy:
            log.info("%s: left to it", busy)
            forecast.left_out.add(each.folder)
            elsewhere += 1
            continue
        if exit_code:
            return exit_code
        if not each.diverged:
            forecast.seconds.append(time.monotonic() - start)
        tables.write(name, table, runs, config)
    if elsewhere:
        log.info("left to other processes: %d runs; --phase=report writes the table again", elsewhere)
    log.info("table in %s", path)
    return 0


def is_finished(each: Run, table: Table) -> bool:
    """Whether nothing is left to do for this run."""
    return each.diverged or len(each.records(table.columns)) == len(table.columns)


def complete(each: Run, table: Table) -> int:
    """Train, and make the tests that the columns of `table` need; a divergence is written down."""
    try:
        exit_code = train.train_and_test(each.config)
        if exit_code:
            return exit_code
        for column in table.columns:
            if not each.records([column]):
                test.test_checkpoint(each.config_of_test(column))
    except Diverged as error:
        log.warning("given up: %s", error)
        each.give_up(error)
    return 0


def list_runs(plans: Plans, config: Config) -> None:
    """Log the runs of every table, row by row, with their folders and how far each is."""
    states: dict[Path, set[str]] = {}
    for name, runs in plans.items():
        table = load_table(name)
        log.info("\n%s (table %s), runs below %s:", table.title, name, config.folder)
        counts: Counter[str] = Counter()
        for row in table.rows:
            own = [each for each in runs if each.row == row]
            log.info("\n%s\n  %s/", row.label, own[0].folder.parent.relative_to(config.folder))
            for each in own:
                state, step = state_of(each, table)
                counts[state] += 1
                states.setdefault(each.folder, set()).add(state)
                reached = f"step {step} of {each.config.train.num_steps}" if state == BEGUN else state
                log.info("    %s  %s", each.folder.name, reached)
        log.info("\n%s", describe_counts(len(runs), counts))
    done = sum(each <= {FINISHED, DIVERGED} for each in states.values())
    log.info(
        "in all %d trainings, each in a folder of its own; %d left to do", len(states), len(states) - done
    )
    try:
        load_annotation(config.data.data_path, config.data.anno_path, config.data.dataset)
    except UserError as error:
        log.warning("warning: none can be made yet: %s", error)


def describe_counts(total: int, counts: Counter[str]) -> str:
    shown = ", ".join(
        f"{counts[state]} {f'with {state}' if state == UNTESTED else state}"
        for state in (FINISHED, UNTESTED, BEGUN, NOT_BEGUN, DIVERGED)
        if counts[state]
    )
    return f"{total} runs: {shown}"


def state_of(each: Run, table: Table) -> tuple[str, int]:
    """How far a run is, and its newest checkpoint's step. Raises UserError if it is of other options."""
    steps = checkpoint_files.saved_steps(each.folder / "model")
    step = steps[-1] if steps else 0
    if each.diverged:
        return DIVERGED, step
    if is_finished(each, table):
        return FINISHED, step
    if step >= each.config.train.num_steps:
        return UNTESTED, step
    return (BEGUN if steps else NOT_BEGUN), step
