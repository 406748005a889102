"""MEMS with margins from 1, which is none, to above 2 + sqrt(3) = 3.732 (docs/method.md, Losses)."""

from experiments.table import BOTH_DISTANCES, Column, Options, Row, Table

MARGINS = (1.0, 1.5, 2.0, 3.0, 3.74, 4.0, 5.0)
EUCLIDEAN: Options = {"test_distance": "euclidean"}

TABLE = Table(
    title="Margins of MEMS",
    question="How does retrieval change with the margin, and is it best from 2 + sqrt(3) on?",
    rows=tuple(Row(f"m = {margin:g}", {"loss_type": "mems", "margin": margin}) for margin in MARGINS),
    columns=(
        *BOTH_DISTANCES,
        Column("categories with max intra < min inter: photos", "share photos", EUCLIDEAN),
        Column("with test sketches", "share all", EUCLIDEAN),
        Column("photos inside their margin", "inside photos", EUCLIDEAN),
    ),
)
