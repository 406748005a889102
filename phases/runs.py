"""The runs behind a table of experiments: which there are, where they lie, and what they found."""

import argparse
import copy
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.table import Column, Row, Table
from losses import ALIASES, loss_class
from phases import results, settings
from utils.errors import UserError

log = logging.getLogger(__name__)

# What the name of a run's folder says, beside network, attention and loss; the others are common to all
NAMED = {"f_dim": "f", "annealing_step": "annealed", "lr": "lr"}
SWITCHES = {"se_activation": "sigmoid", "se_reduction": 16, "normalize": False, "pad_pretrained_se": False}
DIVERGED = "diverged.json"  # in a run's log folder


@dataclass(frozen=True)
class Run:
    """One training of one row: its options, complete, with `save_path` and `seed`."""

    row: Row
    options: argparse.Namespace

    @property
    def folder(self) -> Path:
        return settings.run_folder(self.options)

    def test_options(self, column: Column) -> argparse.Namespace:
        """Options of the test that `column` takes its figure from."""
        options = copy.copy(self.options)
        tests = {**self.row.test, **column.test}
        vars(options).update(tests, phase="test", pretrained_model=options.num_steps)
        options.given = {*options.given, "pretrained_model", "test_distance", *tests}
        return options

    def value(self, column: Column) -> float | None:
        """The figure of `column`, None if it is not there yet."""
        options = self.test_options(column)
        for record in results.read_records(self.folder / "log" / "result.json"):
            if results.key(record) == (options.num_steps, options.test_distance, options.mirror):
                return figure(record, column.metric)
        return None

    @property
    def diverged(self) -> str | None:
        """Why the training could not be finished, if it was given up."""
        path = self.folder / "log" / DIVERGED
        return json.loads(path.read_text(encoding="utf-8"))["message"] if path.is_file() else None


def figure(record: dict[str, Any], metric: str) -> float | None:
    """One figure, in percent, of a record of result.json."""
    kind, _, what = metric.partition(" ")
    if kind == "hash":
        return record["hash"].get(what, {}).get("MAP")
    if kind in ("share", "inside"):
        return record.get("margin_condition", {}).get(what, {}).get(kind)
    return record["metrics"].get(metric)


def planned(name: str, table: Table, options: argparse.Namespace) -> list[Run]:
    """All runs of `table`, seed by seed, so that a table stopped early has some of every row.

    Logs which of the options of the command line the rows set for themselves.
    """
    set_by_rows = {each for row in table.rows for each in (*row.options, *row.test)}
    set_by_rows |= {each for column in table.columns for each in column.test}
    for each in sorted(options.given & set_by_rows):
        log.info("--%s: rows of the table %s that set their own do not take it", each, name)
    rows = [(row, row_options(row, options)) for row in table.rows]
    seeds = range(options.seed, options.seed + options.seeds)
    return [Run(row, of_seed(settled, seed)) for seed in seeds for row, settled in rows]


def row_options(row: Row, common: argparse.Namespace) -> argparse.Namespace:
    """The options of a row's trainings: its own before those of the command line."""
    options = copy.copy(common)
    if "loss_type" in row.options:
        options.margin = options.scale = None
    vars(options).update(row.options, phase="train")
    options.loss_type = ALIASES.get(options.loss_type, options.loss_type)
    if "lr" not in row.options:
        options.lr = rates(common.lr_of or []).get(options.loss_type, common.lr)
    options.given = {*settings.NETWORK_OPTIONS, *settings.TRAINING_OPTIONS, *settings.RUN_OPTIONS}
    if loss_class(options.loss_type).default_margin is None:
        options.given -= {"margin", "scale", "annealing_step"}
    settings.resolve_training(options)
    return options


def of_seed(options: argparse.Namespace, seed: int) -> argparse.Namespace:
    """The options of one training of a row."""
    options = copy.copy(options)
    options.seed, options.save_path = seed, f"{options.save_path}/{run_name(options)}/seed-{seed}"
    return options


def rates(pairs: list[str]) -> dict[str, float]:
    """["mems=2e-4", ...] -> loss -> learning rate. Raises UserError if it is not of that form."""
    found = {}
    for pair in pairs:
        name, _, rate = pair.partition("=")
        try:
            loss = ALIASES.get(name, name)
            loss_class(loss)
            found[loss] = float(rate)
        except (KeyError, ValueError):
            raise UserError(f"--lr_of {pair!r} is not of the form loss=rate, mems=2e-4 say") from None
    return found


def run_name(options: argparse.Namespace) -> str:
    """A folder's name that says what is varied: equal settings share a run, whatever table they are in."""
    loss = options.loss_type + "".join(
        f"-{letter}{value:g}"
        for letter, value in (("m", options.margin), ("s", options.scale))
        if value is not None
    )
    named = NAMED if options.margin is not None else {k: v for k, v in NAMED.items() if k != "annealing_step"}
    parts = [options.network, options.attention, loss]
    parts += [f"{short}{getattr(options, name):g}" for name, short in named.items()]
    parts += [
        f"{name}-{getattr(options, name)}"
        for name, usual in SWITCHES.items()
        if getattr(options, name) != usual
    ]
    return "-".join(parts)
