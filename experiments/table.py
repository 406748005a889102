"""What a table of experiments is made of: rows of options, columns of results, figures from elsewhere."""

from dataclasses import dataclass, field

Options = dict[str, str | int | float]  # and bool, which is an int


@dataclass(frozen=True)
class Row:
    """One line of a table: what sets its runs apart from those of the other rows.

    `options` are training options by name, `test` options of the test alone. A row that names its
    `loss_type` takes that loss's margin and scale, never those of the command line.
    """

    label: str
    options: Options = field(default_factory=dict)
    test: Options = field(default_factory=dict)


@dataclass(frozen=True)
class Column:
    """One figure of every row: `metric` as in result.json, or "hash 64" for codes of 64 bits.

    `test` holds options of the test, which win over the row's.
    """

    label: str
    metric: str = "MAP"
    test: Options = field(default_factory=dict)


@dataclass(frozen=True)
class Published:
    """A figure printed elsewhere, in percent: `values[dataset][column label]`; None where it is unknown."""

    label: str
    source: str
    values: dict[str, dict[str, float | None]]


@dataclass(frozen=True)
class Table:
    """`question` says what the table is to answer; `published` stands beside the rows, never among them."""

    title: str
    question: str
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    published: tuple[Published, ...] = ()


BOTH_DISTANCES = (
    Column("MAP, Euclidean", test={"test_distance": "euclidean"}),
    Column("MAP, angular", test={"test_distance": "angular"}),
)
