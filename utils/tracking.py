"""Scalars of a training run, as a CSV file and for TensorBoard."""

import csv
import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from utils.errors import UserError
from utils.files import with_filename, write_text

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class Scalars:
    """Writes rows of named numbers by step to `folder`/scalars.csv and to TensorBoard's event files.

    A run that continues after `start_step` first drops the rows behind that step, which it will write again.
    Raises OSError, with the file's name, where the disk does not take it.
    """

    def __init__(self, folder: Path, names: list[str], start_step: int = 0) -> None:
        self.names = names
        self.path = folder / "scalars.csv"
        before = read_scalars(self.path, names) if start_step else []
        kept = [row for row in before if row["step"] <= start_step]
        header = ",".join(["step", *names]) + "\n"
        write_text(self.path, header + "".join(self.line(int(row["step"]), row) for row in kept))
        self.file = self.path.open("a", encoding="utf-8")
        self.events = folder / "tensorboard"
        with with_filename(self.events), suppress_thread_tracebacks():
            self.board = open_board(self.events, start_step + 1)

    def write(self, step: int, values: dict[str, float]) -> None:
        """Add one row; `values` has the names given at the start."""
        with with_filename(self.path):
            self.file.write(self.line(step, values))
            self.file.flush()
        with with_filename(self.events), suppress_thread_tracebacks():
            for name in self.names:
                self.board.add_scalar(name, values[name], step)
            self.board.flush()  # it writes in a thread: what the disk refused is raised here

    def line(self, step: int, values: dict[str, float]) -> str:
        return ",".join([str(step), *(repr(values[name]) for name in self.names)]) + "\n"

    def __enter__(self) -> "Scalars":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in (self.file, self.board):
            try:
                with suppress_thread_tracebacks():
                    file.close()
            except OSError:  # what a full disk did not take is tried again
                if error is None:
                    raise


@contextmanager
def suppress_thread_tracebacks() -> Iterator[None]:
    """Without the traceback of TensorBoard's thread for what a disk refuses: flushing raises it, too."""
    report = threading.excepthook

    def skip(arguments: threading.ExceptHookArgs) -> None:
        if not isinstance(arguments.exc_value, OSError):
            report(arguments)

    threading.excepthook = skip
    try:
        yield
    finally:
        threading.excepthook = report


def open_board(folder: Path, start_step: int) -> "SummaryWriter":
    """A writer of TensorBoard's files, which forget what earlier ones have from `start_step` on."""
    from torch.utils.tensorboard import SummaryWriter  # slow to import: only when there is a training

    return SummaryWriter(str(folder), purge_step=start_step)


def read_scalars(path: Path, names: Sequence[str] = ()) -> list[dict[str, float]]:
    """The rows of a scalars.csv, with `names`; empty if the file is not there. A torn last row is left out.

    Raises UserError if the file is of another form.
    """
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            whole = [line for line in file if line.endswith("\n")]  # "12.5" may be what is left of "12.57"
        rows = [
            {name: float(value) for name, value in row.items()}
            for row in csv.DictReader(whole)
            if None not in row.values()
        ]
        if not all(math.isfinite(row.get("step", math.nan)) for row in rows):
            raise ValueError("its rows have no step")
        lacking = [name for name in names if rows and name not in rows[0]]
        if lacking:
            raise ValueError(f"its rows have no {', '.join(lacking)}")
    except (ValueError, TypeError, csv.Error) as error:
        raise UserError(f"cannot read {path}: {error}; remove it, or put a whole one there") from None
    return rows
