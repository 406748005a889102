"""What the published program does, against what the paper or good practice does (README, deviations)."""

from experiments.table import BOTH_DISTANCES, Row, Table

TABLE = Table(
    title="Switches",
    question="Does what the published program does differently matter?",
    rows=(
        Row("as published"),
        Row("ReLU in SE modules", {"se_activation": "relu"}),
        Row("input normalised", {"normalize": True}),
    ),
    columns=BOTH_DISTANCES,
)
