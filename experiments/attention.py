"""Domain-aware modules against plain ones and none, in the same network."""

from experiments.table import BOTH_DISTANCES, Row, Table

TABLE = Table(
    title="Attention modules",
    question="Does a domain bit in the squeeze-and-excitation modules help, and do the modules themselves?",
    rows=(
        Row("DASE", {"attention": "dase"}),
        Row("SE", {"attention": "se"}),
        Row("none", {"attention": "none"}),
    ),
    columns=BOTH_DISTANCES,
)
