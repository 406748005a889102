"""--phase=report: a page about one run or several, or tables of experiments.

With --table, or for a folder of `--phase=reproduce`, it writes tables. For runs with a checkpoint it writes
one page about all of them: index.html, its plots as PNGs and its numbers in report.json, in
logs/<save_path>/report/, or for several runs in compared-with-<others>/ below it.
"""

import argparse
import dataclasses
import hashlib
import logging
from pathlib import Path

from phases.report.evaluated_run import evaluate_run
from phases.report.page import render_page
from phases.report.record import Record, make_record
from phases.reproduce import tables
from run import checkpoint
from run.config import Config, config_from_options
from run.next_command import log_next_command
from run.plots import draw_report
from utils import checkpoint_files
from utils.errors import UserError
from utils.files import remove_stale_temporaries, write_json, write_text
from utils.locks import folder_lock
from utils.runs import describe_missing

log = logging.getLogger(__name__)

TABLE_OPTIONS = {"seeds", "lr_of"}
LETTERS = "ABCDEFG"  # one per run; as many as the plots have colours


def run(options: argparse.Namespace) -> None:
    """Write the report that the options ask for."""
    config = config_from_options(options)
    if not (options.compared or config.folder.is_dir()):
        raise UserError(describe_missing(config.save_path))
    if options.table or not (options.compared or is_run(config)):
        tables.run(config)
        log_next_command("report", config, of_tables=True)
        return
    for name in sorted(config.given & TABLE_OPTIONS):
        raise UserError(f"--{name} is for tables of experiments (--table), not for the page of a run")
    write_report(config, [config.save_path, *options.compared])
    log_next_command("report", config)


def is_run(config: Config) -> bool:
    """Whether the folder is that of one run: it has a result or a checkpoint."""
    if (config.folder / "log" / "result.json").is_file():
        return True
    models = config.folder / "model"
    return bool(checkpoint_files.saved_steps(models) or checkpoint_files.saved_pairs(models))


def write_report(config: Config, names: list[str]) -> None:
    """Test the checkpoint of --pretrained_model of every run once more, and write one page about all."""
    if len(set(names)) < len(names):
        raise UserError(f"--save_path names a run twice: {' '.join(names)}")
    if len(names) > len(LETTERS):
        raise UserError(
            f"--save_path names {len(names)} runs; at most {len(LETTERS)} can be told apart on one page"
        )
    configs = [dataclasses.replace(config, save_path=name) for name in names]
    for run_config in configs:
        checkpoint.find_file(run_config)  # fails if there is none, before anything is computed or written
    records = {}
    for letter, run_config in zip(LETTERS, configs, strict=False):
        with folder_lock(run_config.folder):
            records[letter] = make_record(evaluate_run(run_config))
    not_comparable = compare_lists(records)
    for line in not_comparable:
        log.warning("warning: %s", line)
    folder = config.folder / "report"
    if len(names) > 1:
        folder /= comparison_folder(names[1:])
    with folder_lock(config.folder):
        remove_stale_temporaries(folder)
        charts = draw_report(records, folder)
        for path in set(folder.glob("*.png")) - set(charts.values()):  # from an earlier report
            path.unlink()
        numbers = records["A"] if len(names) == 1 else {"runs": records, "not_comparable": not_comparable}
        write_json(folder / "report.json", numbers)
        write_text(folder / "index.html", render_page(records, charts, not_comparable))
    log.info("page in %s, its charts and report.json beside it", folder / "index.html")


def compare_lists(records: dict[str, Record]) -> list[str]:
    """A sentence on why the results of these runs do not compare; empty if they do."""
    for reason, key in (("data sets", "dataset"), ("annotation lists", "lists")):
        if len({record[key] for record in records.values()}) > 1:
            sizes = "; ".join(f"{record['run']}: {describe_size(record)}" for record in records.values())
            return [
                f"these runs were tested on different {reason} ({sizes}): their results are not comparable"
            ]
    return []


def describe_size(record: Record) -> str:
    counts = record["counts"]
    return f"{record['dataset']}, {counts['queries']:,} queries, {counts['gallery']:,} photos"


def comparison_folder(others: list[str]) -> Path:
    """The name of the folder for a comparison with the runs `others`; a long one ends in a hash."""
    name = "compared-with-" + "+".join(other.replace("/", "_") for other in others)
    if len(name) > 100:
        name = f"{name[:90]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return Path(name)
