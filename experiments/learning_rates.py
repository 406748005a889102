"""How the learning rate of each loss is chosen: the same rates for all, on categories of their own.

Run with lists of categories that no other table tests on; the best rate of each loss then goes into
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
