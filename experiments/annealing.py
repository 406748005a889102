"""The full margin from the first step, or annealed (docs/method.md, Losses)."""

from experiments.table import BOTH_DISTANCES, Row, Table

TABLE = Table(
    title="Annealing of the margin",
    question="Does it help to let the margin grow over the first steps?",
    rows=(Row("annealed over --annealing_step"), Row("whole margin at once", {"annealing_step": 0})),
    columns=BOTH_DISTANCES,
)
