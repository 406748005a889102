"""Hash codes of 32, 64 and 128 bits against the features they encode (docs/method.md, Hash codes)."""

from experiments.losses import LOSSES
from experiments.published import BITS, published_hash_codes
from experiments.table import Column, Row, Table
from losses import loss_facts

CODES = tuple(Column(f"{bits} bits", f"hash {bits}") for bits in BITS)

TABLE = Table(
    title="Hash codes",
    question="What is lost, or gained, when features are replaced by short binary codes?",
    rows=tuple(
        Row(row.label, row.options, {"test_distance": loss_facts(str(row.options["loss_type"])).distance})
        for row in LOSSES
    ),
    columns=(Column("features"), *CODES),
    published=published_hash_codes(tuple(column.label for column in CODES)),
)
