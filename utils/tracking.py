"""Scalars of a training run: a CSV file and TensorBoard event files."""

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

    A run that continues from `start_step` first drops the rows after that step, which it will write again.
    Raises OSError with the file's name if writing fails.
    """

    def __init__(self, folder: Path, names: list[str], start_step: int = 0) -> None:
        self.names = names
        self.path = folder / "scalars.csv"
        rows = read_scalars(self.path, names) if start_step else []
        rows = [row for row in rows if row["step"] <= start_step]
        header = ",".join(["step", *names]) + "\n"
        write_text(self.path, header + "".join(self.format_row(int(row["step"]), row) for row in rows))
        self.file = self.path.open("a", encoding="utf-8")
        self.events = folder / "tensorboard"
        with with_filename(self.events), suppress_thread_tracebacks():
            self.board = open_board(self.events, start_step + 1)

    def write(self, step: int, values: dict[str, float]) -> None:
        """Add a row; `values` has all the names."""
        with with_filename(self.path):
            self.file.write(self.format_row(step, values))
            self.file.flush()
        with with_filename(self.events), suppress_thread_tracebacks():
            for name in self.names:
                self.board.add_scalar(name, values[name], step)
            self.board.flush()  # it writes in a thread; flushing raises the errors of that thread

    def format_row(self, step: int, values: dict[str, float]) -> str:
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
            except OSError:  # closing retries what failed to be written to a full disk
                if error is None:
                    raise


@contextmanager
def suppress_thread_tracebacks() -> Iterator[None]:
    """Print no traceback of an OSError in TensorBoard's thread: flushing raises the error here as well."""
    hook = threading.excepthook

    def skip(arguments: threading.ExceptHookArgs) -> None:
        if not isinstance(arguments.exc_value, OSError):
            hook(arguments)

    threading.excepthook = skip
    try:
        yield
    finally:
        threading.excepthook = hook


def open_board(folder: Path, start_step: int) -> "SummaryWriter":
    """A TensorBoard writer that discards what earlier files have from `start_step` on."""
    from torch.utils.tensorboard import SummaryWriter  # slow to import: only when there is a training

    return SummaryWriter(str(folder), purge_step=start_step)


def read_scalars(path: Path, names: Sequence[str] = ()) -> list[dict[str, float]]:
    """The rows of a scalars.csv; empty if there is no file. An incomplete last row is left out.

    Raises UserError if the file has another format or lacks one of the columns `names`.
    """
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = [
                line for line in file if line.endswith("\n")
            ]  # a line cut off at "12.5" may have been "12.57"
        rows = [
            {name: float(value) for name, value in row.items()}
            for row in csv.DictReader(lines)
            if None not in row.values()
        ]
        if not all(math.isfinite(row.get("step", math.nan)) for row in rows):
            raise ValueError("its rows have no step")
        missing = [name for name in names if rows and name not in rows[0]]
        if missing:
            raise ValueError(f"its rows have no {', '.join(missing)}")
    except (ValueError, TypeError, csv.Error) as error:
        raise UserError(f"cannot read {path}: {error}; remove it, or restore an intact copy") from None
    return rows
