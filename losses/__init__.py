"""Losses: (features, labels) -> loss.

To add one, subclass `losses.margin.MarginLoss` in a file of its own and name it in LOSSES.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from losses.margin import MarginLoss

LOSSES = {
    "mems": "losses.mems:MEMS",
    "cosface": "losses.cosface:CosFace",
    "a-softmax": "losses.a_softmax:ASoftmax",
    "softmax": "losses.softmax:Softmax",
}


ALIASES = {"lmcl": "cosface"}  # the name in the CosFace paper, and in the published program


def loss_class(name: str) -> type["MarginLoss"]:
    """The class of the loss `name`, imported on demand: the command line needs only the names."""
    module, _, attribute = LOSSES[ALIASES.get(name, name)].partition(":")
    return getattr(import_module(module), attribute)
