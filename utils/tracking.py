"""Scalars of a training run, as a CSV file and for TensorBoard."""

import csv
from pathlib import Path
from types import TracebackType

from utils.files import write_text


class Scalars:
    """Writes rows of named numbers by step to `folder`/scalars.csv and to TensorBoard's event files.

    A run that continues after `start_step` first drops the rows behind that step, which it will write again.
    """

    def __init__(self, folder: Path, names: list[str], start_step: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter  # seconds to import: only training pays

        self.names = names
        self.path = folder / "scalars.csv"
        kept = [row for row in read_scalars(self.path) if row["step"] <= start_step] if start_step else []
        header = ",".join(["step", *names]) + "\n"
        write_text(self.path, header + "".join(self.line(int(row["step"]), row) for row in kept))
        self.file = self.path.open("a", encoding="utf-8")
        self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=start_step + 1)

    def write(self, step: int, values: dict[str, float]) -> None:
        """Add one row; `values` has the names given at the start."""
        self.file.write(self.line(step, values))
        self.file.flush()
        for name in self.names:
            self.board.add_scalar(name, values[name], step)

    def line(self, step: int, values: dict[str, float]) -> str:
        return ",".join([str(step), *(repr(values[name]) for name in self.names)]) + "\n"

    def __enter__(self) -> "Scalars":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.close()
        self.board.close()


def read_scalars(path: Path) -> list[dict[str, float]]:
    """The rows of a scalars.csv; empty if the file is not there. A torn last row is left out."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {name: float(value) for name, value in row.items()}
            for row in csv.DictReader(file)
            if None not in row.values()
        ]
