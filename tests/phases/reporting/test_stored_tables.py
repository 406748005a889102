"""The tables in docs/ are what their own JSON gives today, and rewriting them changes no value."""

import json
import shutil
from pathlib import Path

import pytest

from phases.reporting import tables
from phases.reporting.stored_tables import read_counts, rewrite
from utils.errors import UserError
from utils.files import PROJECT

STORED = PROJECT / "docs" / "tables"


@pytest.mark.parametrize("name", sorted(path.stem for path in STORED.glob("*.json")))
def test_tables_are_up_to_date(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "save_table", lambda *args, **kwargs: None)
    before = json.loads((STORED / f"{name}.json").read_text())
    shutil.copy(STORED / f"{name}.json", tmp_path)
    rewrite(tmp_path / f"{name}.json")
    assert json.loads((tmp_path / f"{name}.json").read_text()) == before
    for suffix in (".md", ".csv"):
        now, stored = ((folder / f"{name}{suffix}").read_text() for folder in (tmp_path, STORED))
        assert now == stored, "write it again: python -m phases.reporting.stored_tables docs/tables"
    assert "paper" not in (tmp_path / f"{name}.md").read_text()


def test_a_table_of_other_rows_is_refused(tmp_path: Path) -> None:
    content = json.loads((STORED / "mirror.json").read_text())
    content["values"]["another row"] = {}
    (tmp_path / "mirror.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="has other rows than the table mirror has today"):
        rewrite(tmp_path / "mirror.json")
    assert not (tmp_path / "mirror.md").exists()


def test_counts_are_read_from_the_protocol() -> None:
    counts = {"categories": 12, "trained_categories": 10, "queries": 2, "gallery": 4}
    sentence = "Data: x (12 categories, 2 of them unseen, 2 test sketches against 4 photos)."
    assert read_counts([sentence, "And so on."]) == counts
    assert read_counts(["Data: x."]) is None
