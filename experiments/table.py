"""A table of experiments: rows of options, columns of results, and numbers published elsewhere."""

from dataclasses import dataclass, field

Options = dict[str, str | int | float]  # and bool, which is an int


@dataclass(frozen=True)
class Row:
    """A row of a table: the options that its runs do not share with the other rows.

    `options` are training options by name, `test` options of the test alone. A row with a `loss_type` takes
    that loss's margin and scale, never those of the command line.
    """

    label: str
    options: Options = field(default_factory=dict)
    test: Options = field(default_factory=dict)


@dataclass(frozen=True)
class Column:
    """One value of every row: `metric` as in result.json, or "hash 64" for codes of 64 bits.

    `test` holds options of the test, which override the row's.
    """

    label: str
    metric: str = "MAP"
    test: Options = field(default_factory=dict)


@dataclass(frozen=True)
class Published:
    """Numbers published elsewhere, in percent: `values[dataset][column label]`, None where unknown."""

    label: str
    source: str
    values: dict[str, dict[str, float | None]]


@dataclass(frozen=True)
class Table:
    """`question` is what the table answers; `published` rows are shown apart from its own `rows`."""

    title: str
    question: str
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    published: tuple[Published, ...] = ()


BOTH_DISTANCES = (
    Column("MAP, Euclidean", test={"test_distance": "euclidean"}),
    Column("MAP, angular", test={"test_distance": "angular"}),
)
