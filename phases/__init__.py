"""What each --phase does: `run(options)` in a module of its own."""

PHASES = {
    "prepare": "phases.prepare",
    "train": "phases.train",
    "test": "phases.test",
    "index": "phases.index",
    "search": "phases.search",
    "serve": "phases.serve",
    "report": "phases.report",
    "export": "phases.export",
    "reproduce": "phases.reproduce",
}
