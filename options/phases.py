"""The phases: for each --phase the module whose `run(options)` does it, and its purpose in a sentence."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Phase:
    module: str
    purpose: str


PHASES = {
    "prepare": Phase("phases.prepare", "Write the annotation lists of a data set."),
    "train": Phase("phases.train", "Train from the newest checkpoint on, if there is one, then test."),
    "test": Phase("phases.test", "Test a checkpoint: MAP, precision, hash codes."),
    "index": Phase("phases.index", "Build an index of a gallery, or compare the indices."),
    "search": Phase("phases.search", "Find photos by a drawing."),
    "serve": Phase("phases.serve", "Search in the browser by drawing."),
    "report": Phase("phases.report", "Write a report of one run, compare several, or write tables."),
    "export": Phase("phases.export", "Write the network for other programs."),
    "reproduce": Phase("phases.reproduce", "Train and test what tables of experiments need."),
}
