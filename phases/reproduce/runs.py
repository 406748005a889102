"""The runs behind a table of experiments: their configs, folders and results."""

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.published import BITS
from experiments.table import Column, Row, Table
from losses import ALIASES, loss_facts
from run import results
from run.config import CONTINUED_FIELDS, Config, resolve_training
from run.provenance import provenance
from utils.errors import UserError
from utils.files import read_json, write_json

log = logging.getLogger(__name__)

# What the name of a run's folder has after network, attention and loss: options, each with its abbreviation,
# and options that are only named where they differ from this value. All others are common to the runs.
NAMED_OPTIONS = {"f_dim": "f", "annealing_step": "annealed", "lr": "lr"}
NAMED_IF_CHANGED = {
    "se_activation": "sigmoid",
    "se_reduction": 16,
    "dase_layer4": False,
    "normalize": False,
    "center_norm": 1.0,
    "augmentation": "published",
    "pad_pretrained_se": False,
}
DIVERGED = "diverged.json"  # in a run's log folder


@dataclass(frozen=True)
class Run:
    """One training of one row, with its complete config."""

    row: Row
    config: Config

    @property
    def folder(self) -> Path:
        return self.config.folder

    def config_of_test(self, column: Column) -> Config:
        """The config of the test that gives the value of `column`."""
        tests = {**self.row.test, **column.test}
        given = self.config.given | {"pretrained_model", "test_distance", *tests}
        return self.config.with_values(**tests, pretrained_model=self.config.train.num_steps, given=given)

    def read_records(self, columns: Sequence[Column]) -> dict[str, dict[str, Any]]:
        """The record of result.json for each column, by its label; without columns that are not tested yet.

        Raises UserError if the folder holds a run with other options.
        """
        records = {
            results.get_record_key(record): record
            for record in results.read_records(self.folder / "log" / "result.json")
        }
        by_column = {}
        for column in columns:
            config = self.config_of_test(column)
            record = records.get((config.train.num_steps, config.test.test_distance, config.test.mirror))
            if record is None:
                continue
            self.check_options(record["training_options"])
            if self.is_complete(record["options"]):
                by_column[column.label] = record
        return by_column

    def is_complete(self, test_options: dict[str, Any]) -> bool:
        """Whether a test with these options has all that tables show: one made by hand may lack something."""
        return (
            test_options["margin_condition"] == "on"
            and test_options["hash_gradient"] == self.config.test.hash_gradient
            and set(test_options["hash_bits"]) >= set(BITS)
        )

    def check_options(self, stored: dict[str, Any]) -> None:
        """Raise UserError unless the training in this folder, whose options are `stored`, is this run."""
        for name in CONTINUED_FIELDS:
            if stored.get(name) != self.config.value(name):
                raise UserError(
                    f"{self.folder} was made with --{name}={stored.get(name)}, not "
                    f"{self.config.value(name)}; choose another --save_path"
                )
        if stored.get("lengthened"):
            raise UserError(
                f"{self.folder} was lengthened after {stored['lengthened'][0]} steps, and tables take no "
                "lengthened runs; choose another --save_path"
            )

    @property
    def has_diverged(self) -> bool:
        """Whether the training was given up. Raises UserError as `read_records` does."""
        path = self.folder / "log" / DIVERGED
        if not path.is_file():
            return False
        try:
            stored = read_json(path)["options"]
            if not isinstance(stored, dict):
                raise ValueError("its options are not a JSON object")
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"cannot read {path}: {error}; remove it, and the run is tried again") from None
        self.check_options(stored)
        return True

    def mark_diverged(self, error: UserError) -> None:
        """Record that this training diverges, so that it is not tried again."""
        content = {"message": str(error), **provenance(self.config)}
        write_json(self.folder / "log" / DIVERGED, content)


def get_metric(record: dict[str, Any], metric: str) -> float | None:
    """The value of `metric` in a record of result.json, in percent; None if the record does not have it.

    Beside the names in "metrics": "hash 64" is the MAP by codes of 64 bits, "share photos" and "inside
    photos" are percentages of the margin condition.
    """
    kind, _, name = metric.partition(" ")
    if kind == "hash":
        return record["hash"].get(name, {}).get("MAP")
    if kind in ("share", "inside"):
        return record.get("margin_condition", {}).get(name, {}).get(kind)
    return record["metrics"].get(metric)


def get_chance(record: dict[str, Any], metric: str) -> float | None:
    """What `metric` is for photos in random order, in percent; None where chance is not defined."""
    return record["chance"].get("MAP" if metric.startswith("hash ") else metric)


def plan_runs(name: str, table: Table, config: Config) -> list[Run]:
    """All runs of `table`, seed by seed, so that a table that is stopped early has runs of every row.

    Logs the given options that have no effect on rows with values of their own. Raises UserError if the
    options leave no difference between two rows.
    """
    set_by_rows = {option for row in table.rows for option in (*row.options, *row.test)}
    set_by_rows |= {option for column in table.columns for option in column.test}
    if "loss_type" in set_by_rows:
        set_by_rows |= {"margin", "scale"}
    if "lr" in set_by_rows:
        set_by_rows.add("lr_of")
    for option in sorted(config.given & set_by_rows):
        log.info("--%s has no effect on rows of the table %s that set it themselves", option, name)
    configs = [(row, make_row_config(row, config)) for row in table.rows]
    distinct = {(name_folder(row_config), str(row.test)) for row, row_config in configs}
    if len(distinct) < len(configs):
        raise UserError(f"with these options, rows of the table {name} do not differ; leave some out")
    seeds = range(config.seed, config.seed + config.tables.seeds)
    return [Run(row, with_seed(row_config, seed)) for seed in seeds for row, row_config in configs]


def make_row_config(row: Row, common: Config) -> Config:
    """The config of a row's trainings: the row's own values, and those of the command line for the rest.

    Its tests measure what any table has a column for, because tables share runs.
    """
    values: dict[str, Any] = {"margin": None, "scale": None} if "loss_type" in row.options else {}
    config = common.with_values(**{**values, **row.options})
    loss = ALIASES.get(config.loss.loss_type, config.loss.loss_type)
    if "lr" in row.options:
        lr = config.train.lr
    else:
        lr = parse_learning_rates(common.tables.lr_of).get(loss, common.train.lr)
    given = frozenset(CONTINUED_FIELDS)
    if loss_facts(loss).default_margin is None:
        given -= {"margin", "scale", "annealing_step"}
    config = config.with_values(
        loss_type=loss,
        lr=lr,
        hash_bits=sorted({*common.test.hash_bits, *BITS}),
        margin_condition="on",
        given=given,
    )
    return resolve_training(config)


def with_seed(config: Config, seed: int) -> Config:
    """The config of one training of a row, with a folder of its own."""
    path = f"{config.save_path}/{name_folder(config)}/seed-{seed}"
    return dataclasses.replace(config, seed=seed, save_path=path)


def parse_learning_rates(pairs: Sequence[str]) -> dict[str, float]:
    """["mems=2e-4", ...] -> loss -> learning rate. Raises UserError if it is not of that form."""
    rates = {}
    for pair in pairs:
        name, _, rate = pair.partition("=")
        try:
            loss = ALIASES.get(name, name)
            loss_facts(loss)
            rates[loss] = float(rate)
        except (KeyError, ValueError):
            raise UserError(f"--lr_of {pair!r} is not of the form loss=rate, such as mems=2e-4") from None
    return rates


def name_folder(config: Config) -> str:
    """The name of a run's folder, from what rows vary: equal settings share a run, also between tables."""
    loss = config.loss.loss_type
    if config.loss.margin is not None:
        loss += f"-m{config.loss.margin:g}"
    if config.loss.scale is not None:
        loss += f"-s{config.loss.scale:g}"
    parts = [config.network.network, config.network.attention, loss]
    for name, abbreviation in NAMED_OPTIONS.items():
        if name != "annealing_step" or config.loss.margin is not None:
            parts.append(f"{abbreviation}{config.value(name):g}")
    for name, usual in NAMED_IF_CHANGED.items():
        if config.value(name) != usual:
            parts.append(f"{name}-{config.value(name)}")
    return "-".join(parts)
