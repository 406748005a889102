"""The phases: the module whose `run(options)` runs each --phase, and its purpose in one sentence."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Phase:
    module: str
    purpose: str


PHASES = {
    "prepare": Phase("phases.prepare", "Write the annotation lists of a data set."),
    "train": Phase("phases.train", "Train, or continue from the newest checkpoint, then test."),
    "test": Phase("phases.test", "Test a checkpoint: MAP, precision, hash codes."),
    "index": Phase("phases.index", "Build an index of a gallery, or compare the indices."),
    "search": Phase("phases.search", "Search photos with a drawing."),
    "serve": Phase("phases.serve", "Search in the browser with a drawing."),
    "report": Phase("phases.report", "Write a report of one run, compare several runs, or write tables."),
    "export": Phase("phases.export", "Export the network for other programs."),
    "reproduce": Phase("phases.reproduce", "Train and test the runs of tables of experiments."),
}
