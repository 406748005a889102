"""Losses: (features, labels) -> loss.

To add one, subclass `losses.margin.MarginLoss` in a new file and add its facts to LOSSES.
"""

import math
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from losses.margin import MarginLoss


@dataclass(frozen=True)
class LossFacts:
    """What the command line needs to know about a loss before PyTorch is imported.

    `path` is "module:class". `default_margin` and `default_scale` are None for a loss without a margin or a
    scale; `margin_range` is inclusive. `distance` is the --test_distance that the loss trains for.
    """

    path: str
    distance: str = "euclidean"
    default_margin: float | None = None
    default_scale: float | None = None
    margin_range: tuple[float, float] = (0.0, math.inf)


LOSSES = {
    "mems": LossFacts("losses.mems:MEMS", default_margin=4.0, margin_range=(1.0, math.inf)),
    "cosface": LossFacts(
        "losses.cosface:CosFace",
        distance="angular",
        default_margin=0.35,
        default_scale=32.0,
        margin_range=(0.0, 1.0),
    ),
    "a-softmax": LossFacts(
        "losses.a_softmax:ASoftmax", distance="angular", default_margin=4.0, margin_range=(1.0, math.inf)
    ),
    "softmax": LossFacts("losses.softmax:Softmax", distance="angular"),
}

ALIASES = {"lmcl": "cosface"}  # the CosFace paper and the published program call it LMCL


def loss_facts(name: str) -> LossFacts:
    """The facts of the loss `name` or alias."""
    return LOSSES[ALIASES.get(name, name)]


def loss_class(name: str) -> type["MarginLoss"]:
    """The class of the loss `name` or alias, imported on demand: the command line needs only the facts."""
    module, _, attribute = loss_facts(name).path.partition(":")
    return getattr(import_module(module), attribute)
