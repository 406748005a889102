"""MEMS against CosFace, A-Softmax and softmax, each with its published margin."""

from experiments.table import BOTH_DISTANCES, Column, Row, Table

LOSSES = (
    # the published margins: 4 for SE-ResNeXt-101, 2 for AlexNet from random weights
    Row("MEMS, m = 4", {"loss_type": "mems", "margin": 4.0}),
    Row("MEMS, m = 2", {"loss_type": "mems", "margin": 2.0}),
    Row("CosFace, m = 0.35, s = 32", {"loss_type": "cosface", "margin": 0.35, "scale": 32.0}),
    Row("A-Softmax, m = 4", {"loss_type": "a-softmax", "margin": 4.0}),
    Row("softmax", {"loss_type": "softmax"}),
)

TABLE = Table(
    title="Losses",
    question="Does MEMS retrieve better than the other losses, by its own distance and by angular distance?",
    rows=LOSSES,
    columns=(*BOTH_DISTANCES, Column("P@10, Euclidean", "P@10", {"test_distance": "euclidean"})),
)
