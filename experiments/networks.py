"""Every network with every kind of attention module."""

from experiments.published import published_features
from experiments.table import BOTH_DISTANCES, Row, Table

TABLE = Table(
    title="Networks and attention modules",
    question="What does each network gain from domain-aware modules?",
    rows=tuple(
        Row(f"{name}, {label}", {"network": network, "attention": attention})
        for network, name in (
            ("resnext101", "SE-ResNeXt-101"),
            ("alexnet", "AlexNet"),
            ("resnet18", "ResNet-18"),
        )
        for attention, label in (("dase", "DASE"), ("se", "SE"), ("none", "none"))
    ),
    columns=BOTH_DISTANCES,
    published=published_features(BOTH_DISTANCES[0].label),
)
