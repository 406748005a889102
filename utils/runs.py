"""Lists the runs below logs/, for messages about a run that does not exist."""

import os
from difflib import get_close_matches
from pathlib import Path

from utils.checkpoint_files import saved_pairs, saved_steps
from utils.names import escape_undecodable

LOGS = Path("logs")
MAX_LISTED = 8  # runs in a message


def saved_runs() -> list[str]:
    """The folders below logs/ that hold a checkpoint, relative to it and sorted: values for --save_path."""
    runs = []
    for folder, folders, _ in os.walk(LOGS):
        folders.sort()
        model = Path(folder, "model")
        if "model" in folders and (saved_steps(model) or saved_pairs(model)):
            runs.append(escape_undecodable(Path(folder).relative_to(LOGS).as_posix()))
            folders[:] = [
                name for name in folders if name == "published"
            ]  # written by export; the other folders belong to the run
    return sorted(runs)


def describe_runs(missing: str) -> str:
    """The existing runs as text for a message, those with a name similar to `missing` first."""
    runs = saved_runs()
    if not runs:
        return f"there are no runs in {LOGS.absolute()}"
    close = get_close_matches(missing, runs, n=MAX_LISTED)
    ordered = [*close, *(name for name in runs if name not in close)]
    more = f", ... ({len(runs)} in all)" if len(runs) > MAX_LISTED else ""
    return f"runs in {LOGS}: {', '.join(ordered[:MAX_LISTED])}{more}"


def describe_missing(save_path: str) -> str:
    """The error message for a run without a checkpoint: its folder, and the existing runs."""
    folder = LOGS / save_path
    problem = f"there is no run {folder.absolute()}"
    if folder.is_dir():
        problem = f"no checkpoint in {(folder / 'model').absolute()}"
    return f"{problem}; {describe_runs(save_path)}; check --save_path, or train with --phase=train"
