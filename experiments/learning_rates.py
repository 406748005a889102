"""The search for each loss's learning rate: the same candidates for all, on separate categories.

Run it with lists of categories that no other table tests on, and pass the best rate of each loss to
`--lr_of`. MEMS has one rate for all margins, chosen at m = 2.
"""

from experiments.losses import LOSSES
from experiments.table import BOTH_DISTANCES, Row, Table

RATES = (1e-4, 3e-4, 1e-3, 3e-3)

TABLE = Table(
    title="Learning rates",
    question="Which learning rate suits each loss?",
    rows=tuple(
        Row(f"{row.label}, lr {rate:g}", {**row.options, "lr": rate})
        for row in LOSSES
        if row.label != "MEMS, m = 4"
        for rate in RATES
    ),
    columns=BOTH_DISTANCES,
)
