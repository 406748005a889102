"""Choices of the published program against the usual ones (docs/deviations.md)."""

from experiments.table import BOTH_DISTANCES, Row, Table

TABLE = Table(
    title="Switches",
    question="Does what the published program does differently matter?",
    rows=(
        Row("as published", {"se_activation": "sigmoid", "normalize": False}),
        Row("ReLU in SE modules", {"se_activation": "relu", "normalize": False}),
        Row("input normalised", {"se_activation": "sigmoid", "normalize": True}),
    ),
    columns=BOTH_DISTANCES,
)
