"""Test with or without the flip of each image (docs/method.md, Evaluation)."""

from experiments.table import BOTH_DISTANCES, Row, Table

TABLE = Table(
    title="Mirrored images at test",
    question="What does the mirror image at test bring?",
    rows=(Row("with mirror images", test={"mirror": "on"}), Row("as is alone", test={"mirror": "off"})),
    columns=BOTH_DISTANCES,
)
