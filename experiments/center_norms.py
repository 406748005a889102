"""Initial norm of the class centres: close together or far apart (docs/training.md)."""

from experiments.table import BOTH_DISTANCES, Options, Row, Table

COSFACE: Options = {"loss_type": "cosface", "margin": 0.35, "scale": 32.0}

TABLE = Table(
    title="Norm of the centres at the start",
    question="How far from the origin should class centres start in a short training?",
    rows=(
        *(
            Row(f"MEMS, m = 2, norm {norm:g}", {"loss_type": "mems", "margin": 2.0, "center_norm": norm})
            for norm in (1.0, 2.0, 3.0, 5.0)
        ),
        *(Row(f"CosFace, norm {norm:g}", {**COSFACE, "center_norm": norm}) for norm in (1.0, 3.0)),
    ),
    columns=BOTH_DISTANCES,
)
