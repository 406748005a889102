"""The runs behind a table of experiments: which there are, where they lie, and what they found."""

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
from run.config import NETWORK_FIELDS, RUN_FIELDS, TRAINING_FIELDS, Config, resolve_training
from run.provenance import provenance
from utils.errors import UserError
from utils.files import read_json, write_json

log = logging.getLogger(__name__)

# What the name of a run's folder says, beside network, attention and loss; the others are common to all
NAMED = {"f_dim": "f", "annealing_step": "annealed", "lr": "lr"}
SWITCHES = {
    "se_activation": "sigmoid",
    "se_reduction": 16,
    "dase_layer4": False,
    "normalize": False,
    "center_norm": 1.0,
    "augmentation": "published",
    "pad_pretrained_se": False,
}
# What a run must have been made with to stand in a table
MADE_WITH = NETWORK_FIELDS + TRAINING_FIELDS + RUN_FIELDS
DIVERGED = "diverged.json"  # in a run's log folder


@dataclass(frozen=True)
class Run:
    """One training of one row: its config, complete, with `save_path` and `seed`."""

    row: Row
    config: Config

    @property
    def folder(self) -> Path:
        return self.config.folder

    def config_of_test(self, column: Column) -> Config:
        """The config of the test that `column` takes its value from."""
        tests = {**self.row.test, **column.test}
        given = self.config.given | {"pretrained_model", "test_distance", *tests}
        return self.config.with_values(**tests, pretrained_model=self.config.train.num_steps, given=given)

    def records(self, columns: Sequence[Column]) -> dict[str, dict[str, Any]]:
        """The records of result.json by the labels of the columns that take their values from them.

        Columns whose test has not been made are left out. Raises UserError if the folder holds a run of other
        options.
        """
        tested = {
            results.record_key(record): record
            for record in results.read_records(self.folder / "log" / "result.json")
        }
        found = {}
        for column in columns:
            config = self.config_of_test(column)
            record = tested.get((config.train.num_steps, config.test.test_distance, config.test.mirror))
            if record is None:
                continue
            self.check(record["training_options"])
            # a test by hand may have left out what a column needs
            test = record["options"]
            codes = (test["hash_gradient"], set(test["hash_bits"]) >= set(BITS))
            if test["margin_condition"] == "on" and codes == (self.config.test.hash_gradient, True):
                found[column.label] = record
        return found

    def check(self, made_with: dict[str, Any]) -> None:
        """Raise UserError unless the run in this folder was made with these options."""
        for name in MADE_WITH:
            if made_with.get(name) != self.config.value(name):
                raise UserError(
                    f"{self.folder} was made with --{name}={made_with.get(name)}, not "
                    f"{self.config.value(name)}; choose another --save_path"
                )

        if made_with.get("lengthened"):
            raise UserError(
                f"{self.folder} was lengthened after {made_with['lengthened'][0]} steps, which no row of a "
                "table is; choose another --save_path"
            )

    @property
    def diverged(self) -> bool:
        """Whether the training was given up. Raises UserError as `record` does."""
        path = self.folder / "log" / DIVERGED
        if not path.is_file():
            return False
        try:
            made_with = read_json(path)["options"]
            if not isinstance(made_with, dict):
                raise ValueError("it does not say its options")
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"cannot read {path}: {error}; remove it, and the run is tried again") from None
        self.check(made_with)
        return True

    def give_up(self, error: UserError) -> None:
        """Write down that this training diverges, so that it is not made again."""
        content = {"message": str(error), **provenance(self.config)}
        write_json(self.folder / "log" / DIVERGED, content)


def metric_value(record: dict[str, Any], metric: str) -> float | None:
    """One figure, in percent, of a record of result.json."""
    kind, _, what = metric.partition(" ")
    if kind == "hash":
        return record["hash"].get(what, {}).get("MAP")
    if kind in ("share", "inside"):
        return record.get("margin_condition", {}).get(what, {}).get(kind)
    return record["metrics"].get(metric)


def chance(record: dict[str, Any], metric: str) -> float | None:
    """What `metric_value` is for photos in random order, in percent; None where chance is not defined."""
    return record["chance"].get("MAP" if metric.startswith("hash ") else metric)


def plan_runs(name: str, table: Table, config: Config) -> list[Run]:
    """All runs of `table`, seed by seed, so that a table stopped early has some of every row.

    Logs which of the options of the command line the rows set for themselves. Raises UserError if they leave
    no difference between two rows.
    """
    set_by_rows = {each for row in table.rows for each in (*row.options, *row.test)}
    set_by_rows |= {each for column in table.columns for each in column.test}
    if "loss_type" in set_by_rows:
        set_by_rows |= {"margin", "scale"}
    if "lr" in set_by_rows:
        set_by_rows.add("lr_of")
    for each in sorted(config.given & set_by_rows):
        log.info("--%s: rows of the table %s that set their own do not take it", each, name)
    rows = [(row, config_of_row(row, config)) for row in table.rows]
    settled = {(run_name(each), str(row.test)): row.label for row, each in rows}
    if len(settled) < len(rows):
        raise UserError(f"with these options, rows of the table {name} do not differ; leave some out")
    seeds = range(config.seed, config.seed + config.tables.seeds)
    return [Run(row, config_of_seed(each, seed)) for seed in seeds for row, each in rows]


def config_of_row(row: Row, common: Config) -> Config:
    """The config of a row's trainings: its own values before those of the command line.

    Tests find whatever any table has a column for: runs are shared between tables.
    """
    values: dict[str, Any] = {"margin": None, "scale": None} if "loss_type" in row.options else {}
    config = common.with_values(**{**values, **row.options})
    loss = ALIASES.get(config.loss.loss_type, config.loss.loss_type)
    lr = (
        config.train.lr
        if "lr" in row.options
        else parse_rates(common.tables.lr_of).get(loss, common.train.lr)
    )
    given = frozenset(MADE_WITH)
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


def config_of_seed(config: Config, seed: int) -> Config:
    """The config of one training of a row."""
    path = f"{config.save_path}/{run_name(config)}/seed-{seed}"
    return dataclasses.replace(config, seed=seed, save_path=path)


def parse_rates(pairs: Sequence[str]) -> dict[str, float]:
    """["mems=2e-4", ...] -> loss -> learning rate. Raises UserError if it is not of that form."""
    found = {}
    for pair in pairs:
        name, _, rate = pair.partition("=")
        try:
            loss = ALIASES.get(name, name)
            loss_facts(loss)
            found[loss] = float(rate)
        except (KeyError, ValueError):
            raise UserError(f"--lr_of {pair!r} is not of the form loss=rate, mems=2e-4 say") from None
    return found


def run_name(config: Config) -> str:
    """A folder's name that says what is varied: equal settings share a run, whatever table they are in."""
    loss = config.loss.loss_type + "".join(
        f"-{letter}{value:g}"
        for letter, value in (("m", config.loss.margin), ("s", config.loss.scale))
        if value is not None
    )
    named = (
        NAMED if config.loss.margin is not None else {k: v for k, v in NAMED.items() if k != "annealing_step"}
    )
    parts = [config.network.network, config.network.attention, loss]
    parts += [f"{short}{config.value(name):g}" for name, short in named.items()]
    parts += [
        f"{name}-{config.value(name)}" for name, usual in SWITCHES.items() if config.value(name) != usual
    ]
    return "-".join(parts)
