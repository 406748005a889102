"""Scalars of a training run, as a CSV file and for TensorBoard."""

import csv
import math
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from utils.errors import UserError
from utils.files import naming, write_text


class Events:
    """A TensorBoard event file in `folder`, of which it forgets what earlier ones say from `start_step` on.

    PyTorch's SummaryWriter writes in a thread: what a full disk said came late, and with a traceback.
    """

    def __init__(self, folder: Path, start_step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        self.event = Event
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        self.path = folder / name
        self.file = self.path.open("wb")
        self.records = RecordWriter(self.file)
        self.add(file_version="brain.Event:2")
        self.add(step=start_step, session_log=SessionLog(status=SessionLog.START))

    def add(self, **content: Any) -> None:
        with naming(self.path):
            self.records.write(self.event(wall_time=time.time(), **content).SerializeToString())
            self.file.flush()

    def write(self, step: int, values: dict[str, float]) -> None:
        """Add one row of named numbers."""
        named = [{"tag": name, "simple_value": value} for name, value in values.items()]
        self.add(step=step, summary={"value": named})


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
        self.board = Events(folder / "tensorboard", start_step + 1)
        self.file = self.path.open("a", encoding="utf-8")

    def write(self, step: int, values: dict[str, float]) -> None:
        """Add one row; `values` has the names given at the start."""
        with naming(self.path):
            self.file.write(self.line(step, values))
            self.file.flush()
        self.board.write(step, {name: values[name] for name in self.names})

    def line(self, step: int, values: dict[str, float]) -> str:
        return ",".join([str(step), *(repr(values[name]) for name in self.names)]) + "\n"

    def __enter__(self) -> "Scalars":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in (self.file, self.board.file):
            try:
                file.close()
            except OSError:  # what a full disk did not take is tried again
                if error is None:
                    raise


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
