"""--phase=reproduce: train and test the runs that tables of experiments lack, and write the tables.

Each run is one of --phase=train in a folder of its own below logs/<save_path>/, so it can be inspected,
tested and continued by itself. The command can be stopped and repeated, and several processes can share the
work: a run that another one has locked is left to it. --dry_run lists the runs and how far each is.
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
from run.next_command import log_next_command
from utils import checkpoint_files
from utils.errors import Diverged, UserError
from utils.locks import Locked

log = logging.getLogger(__name__)

Plans = dict[str, list[Run]]  # name of a table -> its runs

# How far a run is, as --dry_run lists it
FINISHED, DIVERGED, UNTESTED, BEGUN, NOT_BEGUN = "finished", "diverged", "tests missing", "begun", "not begun"


def run(options: argparse.Namespace) -> int:
    """Make the missing runs of --table. Returns the exit status: not 0 when a signal stopped it."""
    config = config_from_options(options)
    if not config.tables.table:
        raise UserError(f"--phase=reproduce needs --table, one or more of {', '.join(sorted(TABLES))}")
    plans = {name: plan_runs(name, load_table(name), config) for name in config.tables.table}
    if options.dry_run:
        list_runs(plans, config)
        given = {name: getattr(options, name) for name in options.given - {"phase", "dry_run"}}
        log_next_command("reproduce", config, dry_run=given)
        return 0
    data = load_annotation(config.data.data_path, config.data.anno_path, config.data.dataset)
    for name, runs in plans.items():
        tables.check_lists(load_table(name), runs, data.digest())
    forecast = Forecast(plans)
    for name in plans:
        exit_code = make_missing_runs(name, forecast, config)
        if exit_code:
            return exit_code
    log_next_command("reproduce", config)
    return 0


@dataclass
class Forecast:
    """Estimates how long the remaining runs will take, from those that this process has made."""

    plans: Plans
    seconds: list[float] = field(default_factory=list)  # one per run made
    locked: set[Path] = field(default_factory=set)  # folders of runs that other processes are making

    def describe(self) -> str:
        """The end of a log line, such as ", about 2 h 10 min left"; empty until a run has been made."""
        if not self.seconds:
            return ""
        remaining = set()
        for name, runs in self.plans.items():
            table = load_table(name)
            remaining |= {run.folder for run in runs if not is_finished(run, table)}
        seconds = fmean(self.seconds) * len(remaining - self.locked)
        return f", {describe_duration(seconds)} left"


def describe_duration(seconds: float) -> str:
    """As in "about 2 h 10 min", and from a day on "about 1 d 3 h"."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute"
    if minutes < 60:
        return f"about {minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"about {hours} h {minutes} min"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"about {days} d {hours} h"


def make_missing_runs(name: str, forecast: Forecast, config: Config) -> int:
    """Make the missing runs of a table; write it at the start and after each. Returns an exit status."""
    table, runs = load_table(name), forecast.plans[name]
    path = tables.write(name, table, runs, config)
    num_locked = 0
    for number, run in enumerate(runs, start=1):
        if is_finished(run, table):
            continue
        log.info(
            "\n%s, run %d of %d: %s, seed %d%s",
            table.title,
            number,
            len(runs),
            run.row.label,
            run.config.seed,
            forecast.describe(),
        )
        start = time.monotonic()
        try:
            exit_code = make_run(run, table)
        except Locked as error:
            log.info("%s: left to it", error)
            forecast.locked.add(run.folder)
            num_locked += 1
            continue
        if exit_code:
            return exit_code
        if not run.has_diverged:
            forecast.seconds.append(time.monotonic() - start)
        tables.write(name, table, runs, config)
    if num_locked:
        log.info("left to other processes: %d runs; --phase=report writes the table again", num_locked)
    log.info("table in %s", path)
    return 0


def is_finished(run: Run, table: Table) -> bool:
    """Whether the run is trained and has all tests that `table` needs, or has diverged."""
    return run.has_diverged or len(run.read_records(table.columns)) == len(table.columns)


def make_run(run: Run, table: Table) -> int:
    """Train, and make the tests that `table` needs; a divergence is recorded. Returns an exit status."""
    try:
        exit_code = train.train_and_test(run.config)
        if exit_code:
            return exit_code
        for column in table.columns:
            if not run.read_records([column]):
                test.test_checkpoint(run.config_of_test(column))
    except Diverged as error:
        log.warning("given up: %s", error)
        run.mark_diverged(error)
    return 0


def list_runs(plans: Plans, config: Config) -> None:
    """Log the runs of every table, row by row, with their folders and how far each is."""
    states_by_folder: dict[Path, set[str]] = {}  # several, as a run may lack the tests of one table alone
    for name, runs in plans.items():
        table = load_table(name)
        log.info("\n%s (table %s), runs below %s:", table.title, name, config.folder)
        counts: Counter[str] = Counter()
        for row in table.rows:
            runs_of_row = [run for run in runs if run.row == row]
            log.info("\n%s\n  %s/", row.label, runs_of_row[0].folder.parent.relative_to(config.folder))
            for run in runs_of_row:
                state, step = find_state(run, table)
                counts[state] += 1
                states_by_folder.setdefault(run.folder, set()).add(state)
                progress = f"step {step} of {run.config.train.num_steps}" if state == BEGUN else state
                log.info("    %s  %s", run.folder.name, progress)
        log.info("\n%s", describe_counts(len(runs), counts))
    num_done = sum(states <= {FINISHED, DIVERGED} for states in states_by_folder.values())
    log.info(
        "in all %d trainings, each in a folder of its own; %d left to do",
        len(states_by_folder),
        len(states_by_folder) - num_done,
    )
    try:
        load_annotation(config.data.data_path, config.data.anno_path, config.data.dataset)
    except UserError as error:
        log.warning("warning: none can be made yet: %s", error)


def describe_counts(total: int, counts: Counter[str]) -> str:
    """As in "6 runs: 1 finished, 1 with tests missing, 4 not begun"."""
    parts = []
    for state in (FINISHED, UNTESTED, BEGUN, NOT_BEGUN, DIVERGED):
        if counts[state]:
            parts.append(f"{counts[state]} {'with ' if state == UNTESTED else ''}{state}")
    return f"{total} runs: {', '.join(parts)}"


def find_state(run: Run, table: Table) -> tuple[str, int]:
    """How far a run is, and the step of its newest checkpoint. Raises UserError if it has other options."""
    steps = checkpoint_files.saved_steps(run.folder / "model")
    step = steps[-1] if steps else 0
    if run.has_diverged:
        state = DIVERGED
    elif is_finished(run, table):
        state = FINISHED
    elif step >= run.config.train.num_steps:
        state = UNTESTED
    elif steps:
        state = BEGUN
    else:
        state = NOT_BEGUN
    return state, step
