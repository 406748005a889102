"""Tables of experiments as data: rows of options, with published numbers beside them where there are any.

`python main.py --phase=reproduce --table=NAME` runs one. To add a table, write a module with a `TABLE` and
name it here. Files of options are in this folder too: `@experiments/published.args` on the command line
stands for the options in that file.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from experiments.table import Table

TABLES = {
    "attention": "experiments.attention",
    "networks": "experiments.networks",
    "losses": "experiments.losses",
    "learning_rates": "experiments.learning_rates",
    "margins": "experiments.margins",
    "annealing": "experiments.annealing",
    "center_norms": "experiments.center_norms",
    "f_dim": "experiments.f_dim",
    "hashing": "experiments.hashing",
    "mirror": "experiments.mirror",
    "switches": "experiments.switches",
}


def load_table(name: str) -> "Table":
    """The table `name` of TABLES."""
    return import_module(TABLES[name]).TABLE
