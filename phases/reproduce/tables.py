"""Tables of experiments from the runs that are finished; nothing is trained.

Each value is the mean over seeds with the sample standard deviation; single values are in the CSV and in the
plot. Written to logs/<save_path>/tables/ as Markdown, CSV, JSON and PNG.
"""

import logging
from pathlib import Path

from experiments import TABLES, load_table
from experiments.table import Table
from phases.reproduce.protocol import describe_briefly, describe_protocol
from phases.reproduce.runs import Run, plan_runs
from phases.reproduce.table_results import TableResults, read_results
from phases.reproduce.table_text import format_csv, format_markdown
from run.config import Config
from run.plots import save_table
from run.provenance import provenance
from utils.errors import UserError
from utils.files import remove_stale_temporaries, write_json, write_text
from utils.hardware import describe_machine
from utils.locks import wait_for_folder_lock
from utils.runs import describe_runs

log = logging.getLogger(__name__)


def run(config: Config) -> None:
    """Write the tables of --table, by default every one that has a finished run."""
    names = config.tables.table or sorted(TABLES)
    log.info(
        "tables of the runs below %s on %s: %s",
        config.folder,
        config.data.dataset,
        ", ".join(names) if config.tables.table else "all that have a finished run",
    )
    num_written = 0
    for name in names:
        table = load_table(name)
        try:
            runs = plan_runs(name, table, config)
        except UserError as error:
            if config.tables.table:
                raise
            log.info("no table %s: %s", name, error)  # its rows do not suit the options; it was not asked for
            continue
        check_lists(table, runs)
        if config.tables.table or any(run.read_records(table.columns) for run in runs):
            log.info("table in %s", write(name, table, runs, config))
            num_written += 1
    if not num_written:
        raise UserError(
            f"no finished run of any table below {config.folder.absolute()}; make some with "
            "--phase=reproduce --table=... and the same other options, or name a run with a checkpoint: "
            + describe_runs(config.save_path)
        )


def check_lists(table: Table, runs: list[Run], lists: str | None = None) -> None:
    """Raise UserError if finished runs have different annotation lists, or others than the digest `lists`."""
    digests = {record["lists"] for run in runs for record in run.read_records(table.columns).values()}
    if lists:
        digests.add(lists)
    if len(digests) > 1:
        raise UserError(
            f"runs of the table {table.title!r} were made with several annotation lists (--anno_path); each "
            "needs a --save_path of its own"
        )


def write(name: str, table: Table, runs: list[Run], config: Config) -> Path:
    """Write the table `name` from the results of its `runs` so far; returns the path of the Markdown.

    Several processes may work on the runs of one table; whoever writes last has the results of all.
    """
    folder = config.folder / "tables"
    path = folder / f"{name}.md"
    with wait_for_folder_lock(folder):
        remove_stale_temporaries(folder)
        write_files(path, name, table, runs, config)
    return path


def write_files(path: Path, name: str, table: Table, runs: list[Run], config: Config) -> None:
    """Write the table as Markdown to `path`, and as CSV, JSON and plot beside it."""
    results = read_results(table, runs)
    protocol = describe_protocol(table, runs, config, results.counts)
    machines = sorted({describe_machine(result.machine) for result in results.runs if result.machine})
    if machines:
        protocol.append(f"Trained on {', and on '.join(machines)}.")
    write_text(path, format_markdown(results, protocol, config))
    write_text(path.with_suffix(".csv"), format_csv(results, config))
    write_json_table(path.with_suffix(".json"), name, results, protocol, config)
    plot(path.with_suffix(".png"), results, config)


def write_json_table(
    path: Path, name: str, results: TableResults, protocol: list[str], config: Config
) -> None:
    """Write all values with their protocol, runs and versions to `path`."""
    runs = []
    for result in results.runs:
        row, seed = result.run.row.label, result.run.config.seed
        entry = {"row": row, "seed": seed, "folder": str(result.run.folder)}
        if result.machine:
            entry["machine"] = result.machine
        runs.append(entry)
    content = {
        "table": name,
        "protocol": protocol,
        "values": results.values,
        "chance": results.chance,
        "diverged": results.num_diverged,
        "runs": runs,
        **provenance(config),
    }
    write_json(path, content)


def plot(path: Path, results: TableResults, config: Config) -> None:
    """Plot the columns of MAP, by features and by hash codes, to a PNG at `path`."""
    columns = [
        column.label
        for column in results.table.columns
        if column.metric == "MAP" or column.metric.startswith("hash")
    ]
    values = {
        label: {column: list(by_column[column].values()) for column in columns}
        for label, by_column in results.values.items()
    }
    chance = {column: results.chance[column] for column in columns if column in results.chance}
    title = f"{results.table.title}\n{describe_briefly(results.table, config, results.counts)}"
    save_table(values, chance, path, title=title)
