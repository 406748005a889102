"""How many features an image needs."""

from experiments.table import BOTH_DISTANCES, Row, Table

TABLE = Table(
    title="Features per image",
    question="How does retrieval change with the number of features?",
    rows=tuple(Row(f"{f_dim} features", {"f_dim": f_dim}) for f_dim in (64, 128, 256, 512, 1024)),
    columns=BOTH_DISTANCES,
)
