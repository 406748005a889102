"""The next command: the last line that a phase prints, ready to be pasted into a shell."""

import logging
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Collection
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from datasets.annotations import Entry, list_path, read_list
from experiments import TABLES
from models import READY
from options.check import has_checkpoints
from options.declarations import OPTIONS
from run.config import NETWORK_FIELDS, Config, published_channels
from utils import distributed
from utils.errors import UserError
from utils.files import PROJECT, read_json
from utils.runs import LOGS

log = logging.getLogger(__name__)

MAX_COMPARED = 7  # runs in one report
DEMO_TRAINING = PROJECT / "experiments" / "demo.args"

# Options that the next phase needs again if they were given. The checkpoint has the others.
FOLDERS = ("data_path", "anno_path", "device")
CHECKPOINT = (*NETWORK_FIELDS, *FOLDERS, "pretrained_model", "batch_size", "threads")
FEATURES = ("test_distance", "mirror")
MEASURES = (*FEATURES, "hash_bits", "hash_gradient", "margin_condition", "all_definitions", "eval_memory")
IMAGES = ("skip_unreadable", "cache_images")
SEARCHES = (*FEATURES, "gallery", "index", "hash_bits", "clean_query")


# Fields that a published pair does not store and that are taken to be the defaults
NOT_IN_PAIRS = (
    "image_size",
    "se_activation",
    "test_distance",
    "seed",
    "batch_size",
    "data_path",
    "anno_path",
)


def log_next_command(phase: str, config: Config, **details: Any) -> None:
    """Log the next command after `phase` has succeeded; only on rank 0.

    `details` are further arguments of the function for that phase.
    """
    follow: dict[str, Callable[..., list[str]]] = {
        "prepare": after_prepare,
        "train": after_train,
        "test": after_test,
        "index": after_index,
        "search": after_search,
        "report": after_report,
        "export": after_export,
        "reproduce": after_reproduce,
    }
    if distributed.rank() == 0:
        for line in follow[phase](config, **details):
            log.info("%s", line)


def after_prepare(config: Config) -> list[str]:
    values = {"dataset": config.data.dataset, "save_path": choose_unused_name(config.data.dataset)}
    line = format_command("train", values | select_non_defaults(config, FOLDERS))
    if config.data.dataset == "demo":  # the published settings are for days on a GPU
        line += f" {quote_word(f'@{relative_to_cwd(DEMO_TRAINING)}')}"
        return [f"next: {line}"]
    return [
        "the published settings are for days on a GPU; docs/training.md has those for hours and minutes",
        f"next: {line}",
    ]


def after_train(config: Config) -> list[str]:
    values = {"save_path": config.save_path} | select_non_defaults(config, FOLDERS)
    report = format_command("report", values)
    sketch = find_test_sketch(config)
    if sketch is None:
        return [f"next: {report}"]
    return [f"next: {format_command('search', values | {'query': [sketch]})}", f"or:   {report}"]


def after_test(config: Config) -> list[str]:
    values = {"save_path": config.save_path} | select_given(config, (*CHECKPOINT, *MEASURES, *IMAGES))
    return [f"next: {format_command('report', values)}"]


def after_index(config: Config) -> list[str]:
    sketch = find_test_sketch(config)
    if sketch is None:  # no sketch to search with
        return after_search(config)
    return [f"next: {format_command('search', name_run(config) | {'query': [sketch]})}"]


def after_search(config: Config) -> list[str]:
    return [f"next: {format_command('serve', name_run(config))}"]


def after_report(config: Config, of_tables: bool = False) -> list[str]:
    if of_tables:
        return suggest_comparison(config)
    values = {"save_path": config.save_path} | select_given(config, (*CHECKPOINT, *FEATURES))
    values.pop("threads", None)  # an export needs no threads
    values["format"] = "onnx" if find_spec("onnx") else "torchscript"
    return [f"next: {format_command('export', values)}"]


def after_export(config: Config, format: str) -> list[str]:
    if format == "published":
        values = {"save_path": f"{config.save_path}/published"} | list_values_not_in_pair(config)
        return [f"next: {format_command('test', values)}"]
    folder = config.folder / "export" / format
    line = f"{find_interpreter()} {quote_word(folder / 'use.py')} {quote_word(folder)}"
    if format == "safetensors":  # the weights need the program's network
        line = f"PYTHONPATH={quote_word(PROJECT)} {line}"
    sketch, photos = find_test_sketch(config), find_photos(config)
    if sketch is None or not photos:
        return [f"to use it, with files of your own: {line} DRAWING PHOTO PHOTO..."]
    return [f"next: {line} {' '.join(map(quote_word, [sketch, *photos]))}"]


def list_values_not_in_pair(config: Config) -> dict[str, Any]:
    """The options that a published pair needs because it does not store them: data set and non-defaults."""
    values = {"dataset": config.data.dataset} | without_defaults(config, NOT_IN_PAIRS)
    if config.input.photo_channels != published_channels(config.data.dataset):
        values["photo_channels"] = config.input.photo_channels
    return values | ({"normalize": True} if config.input.normalize else {})


def after_reproduce(config: Config, dry_run: dict[str, Any] | None = None) -> list[str]:
    """`dry_run` has the given options if this was a dry run, else None."""
    if dry_run is not None:
        lists = list_path(config.data.anno_path, config.data.dataset, "sketch")
        if not lists.is_file():  # a warning has said what to do
            return []
        return [f"next: {format_command('reproduce', dry_run)}"]
    return suggest_comparison(config)


def suggest_comparison(config: Config) -> list[str]:
    """A report that compares the runs with the first seed, of the table that has most of them."""
    folder = config.folder / "tables"
    tables = [runs_of_table(folder / f"{name}.json", config.seed) for name in config.tables.table or TABLES]
    names = max(tables, key=len)[:MAX_COMPARED]
    return (
        [f"next: {format_command('report', {'save_path': names} | select_non_defaults(config, FOLDERS))}"]
        if names
        else []
    )


def runs_of_table(path: Path, seed: int) -> list[str]:
    """The --save_path of the tested runs of a table with `seed`, each once, in the order of the rows."""
    try:
        runs = [run for run in read_json(path)["runs"] if run["seed"] == seed]
        names = dict.fromkeys(str(Path(run["folder"]).relative_to(LOGS)) for run in runs)
    except (OSError, ValueError, KeyError, TypeError):  # no such table
        return []
    return [name for name in names if has_result(name)]


def has_result(save_path: str) -> bool:
    return has_checkpoints(save_path) and (LOGS / save_path / "log" / "result.json").is_file()


def name_run(config: Config) -> dict[str, Any]:
    """The run and gallery of a search. The network that comes with the program need not be named."""
    values = {} if config.save_path == READY else {"save_path": config.save_path}
    return values | select_given(config, (*CHECKPOINT, *SEARCHES))


def choose_unused_name(name: str) -> str:
    """A --save_path without a run: `name`, or `name` with a number."""
    number, path = 1, name
    while has_checkpoints(path):
        number += 1
        path = f"{name}-{number}"
    return path


def find_test_sketch(config: Config) -> Path | None:
    """A test sketch of the run; None if the data set is missing."""
    return next(iter(select_test_files(config, "sketch", lambda entries: entries[:1])), None)


def find_photos(config: Config) -> list[Path]:
    """Three photos of the gallery, of three categories if possible; empty without a photo list."""
    return select_test_files(config, "photo", lambda files: [files[0], files[len(files) // 2], files[-1]])


def select_test_files(config: Config, domain: str, choose: Any) -> list[Path]:
    """The files of the test entries that `choose` selects; empty if one of them is missing."""
    try:
        entries: list[Entry] = read_list(list_path(config.data.anno_path, config.data.dataset, domain))[
            "test"
        ]
    except (UserError, OSError):
        return []
    files = [
        config.data.data_path / config.data.dataset / name for name, _ in (choose(entries) if entries else [])
    ]
    return files if all(file.is_file() for file in files) else []


def select_given(config: Config, names: Collection[str]) -> dict[str, Any]:
    """Those of `names` that were given, with their values.

    Including defaults: without them, the next phase would use the checkpoint's values.
    """
    return {name: config.value(name) for name in names if name in config.given}


def select_non_defaults(config: Config, names: Collection[str]) -> dict[str, Any]:
    """As `as_given`, without those that are the defaults."""
    return without_defaults(config, select_given(config, names))


def without_defaults(config: Config, names: Collection[str]) -> dict[str, Any]:
    """Those of `names` whose values are not the defaults, with their values."""
    defaults = Config()
    return {name: config.value(name) for name in names if config.value(name) != defaults.value(name)}


def format_command(phase: str, values: dict[str, Any]) -> str:
    """`python main.py --phase=...` with the options `values`, to be pasted into a shell.

    True and False switch an option on and off. Options that are None or that the phase does not accept are
    left out.
    """
    words = [find_interpreter(), quote_word(relative_to_cwd(PROJECT / "main.py")), f"--phase={phase}"]
    for name, value in values.items():
        if not OPTIONS[name].is_accepted_by(phase):
            continue
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no-{name}")
        elif isinstance(value, list | tuple) and len(value) != 1:
            words += [f"--{name}", *map(quote_word, value)]
        elif value is not None:
            (single,) = value if isinstance(value, list | tuple) else (value,)
            words.append(f"--{name}={quote_word(single)}")
    return " ".join(words)


def find_interpreter() -> str:
    """The command for this Python: `python` if the PATH finds it, else its path."""
    on_path = shutil.which("python")
    here = Path(sys.executable)
    if on_path and Path(on_path).parent.resolve() == here.parent.resolve():
        return "python"
    return quote_word(relative_to_cwd(here))


def relative_to_cwd(path: Path) -> Path:
    """`path` relative to the current folder if it is inside it, else unchanged."""
    try:
        return path.relative_to(Path.cwd())
    except ValueError:
        return path


def quote_word(value: object) -> str:
    """`value` as one word of a shell; unprintable characters as $'...' escapes of bash and zsh."""
    text = str(value)
    if text.isprintable():
        return shlex.quote(text)
    plain = range(0x20, 0x7F)
    codes = (chr(b) if b in plain and b not in b"'\\" else f"\\x{b:02x}" for b in os.fsencode(text))
    return f"$'{''.join(codes)}'"
