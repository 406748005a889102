"""Which package may import which: imports run one way, and the four rooms meet in run and phases alone."""

import ast
from pathlib import Path

import pytest

from utils.files import PROJECT

ROOMS = {"datasets", "models", "losses", "retrieval"}
PACKAGES = {*ROOMS, "utils", "experiments", "options", "run", "phases", "benchmarks", "tests", "main"}
MAY_IMPORT = {
    "utils": set(),
    **{room: {"utils"} for room in ROOMS},
    "experiments": {"losses"},  # the tables name losses and their margins
    "options": {*ROOMS, "utils", "experiments"},  # names and facts: no PyTorch, as tests/test_main.py sees to
    "run": {*ROOMS, "utils", "options", "experiments"},
    "phases": {*ROOMS, "utils", "options", "experiments", "run"},
    "main": {"options", "phases", "utils"},
    "benchmarks": PACKAGES - {"tests"},
}
SIBLINGS = {  # what a phase may import of others
    "train": {"test"},
    "index": {"search"},
    "serve": {"search"},
    "reproduce": {"train", "test"},
    "report": {"test", "reproduce"},
}


def imported_modules(path: Path) -> set[str]:
    """The modules that the file at `path` imports, anywhere in it, by their dotted names."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_a_package_imports_only_what_is_below_it(package: str) -> None:
    files = [PROJECT / "main.py"] if package == "main" else sorted((PROJECT / package).rglob("*.py"))
    assert files
    for path in files:
        packages = {name.partition(".")[0] for name in imported_modules(path)} & PACKAGES
        forbidden = packages - MAY_IMPORT[package] - {package}
        assert not forbidden, f"{path.relative_to(PROJECT)} imports {', '.join(sorted(forbidden))}"


def test_a_phase_imports_only_the_phases_that_it_goes_on_to() -> None:
    files = sorted((PROJECT / "phases").rglob("*.py"))
    assert len({path.relative_to(PROJECT / "phases").parts[0] for path in files}) > 9
    for path in files:
        phase = path.relative_to(PROJECT / "phases").with_suffix("").parts[0]
        named = {name.split(".")[1] for name in imported_modules(path) if name.startswith("phases.")}
        forbidden = named - SIBLINGS.get(phase, set()) - {phase}
        assert not forbidden, f"{path.relative_to(PROJECT)} imports {', '.join(sorted(forbidden))}"
