"""Which runs there are below logs/, for whoever named one that is not there."""

import os
from difflib import get_close_matches
from pathlib import Path

from utils.checkpoint_files import saved_pairs, saved_steps
from utils.names import escape_undecodable

LOGS = Path("logs")
NAMED = 8  # runs that a message names


def saved_runs() -> list[str]:
    """What --save_path can be: the folders below logs/ that hold a checkpoint, sorted."""
    found = []
    for folder, folders, _ in os.walk(LOGS):
        folders.sort()
        model = Path(folder, "model")
        if "model" in folders and (saved_steps(model) or saved_pairs(model)):
            found.append(escape_undecodable(Path(folder).relative_to(LOGS).as_posix()))
            folders[:] = [name for name in folders if name == "published"]  # of export; all else is its own
    return sorted(found)


def describe_runs(missing: str) -> str:
    """The runs that there are, for a message, first those with a name like that of the `missing` one."""
    runs = saved_runs()
    if not runs:
        return f"there are no runs in {LOGS.absolute()}"
    close = get_close_matches(missing, runs, n=NAMED)
    ordered = [*close, *(name for name in runs if name not in close)]
    more = f", ... ({len(runs)} in all)" if len(runs) > NAMED else ""
    return f"runs in {LOGS}: {', '.join(ordered[:NAMED])}{more}"


def describe_missing(save_path: str) -> str:
    """What to say of a run without a checkpoint: its folder, and the runs that there are."""
    folder = LOGS / save_path
    what = f"there is no run {folder.absolute()}"
    if folder.is_dir():
        what = f"no checkpoint in {(folder / 'model').absolute()}"
    return f"{what}; {describe_runs(save_path)}; check --save_path, or train with --phase=train"
