"""The tables in docs/ agree with their own JSON, and rewriting them changes no value."""

import json
import shutil
from pathlib import Path

import pytest

from phases.reproduce import tables
from phases.reproduce.stored_tables import read_counts, rewrite
from utils.errors import UserError
from utils.files import PROJECT

STORED = PROJECT / "docs" / "tables"
RANDOM = STORED / "random"  # of networks that began at random


@pytest.mark.parametrize(
    "stored", sorted(STORED.rglob("*.json")), ids=lambda path: str(path.relative_to(STORED).with_suffix(""))
)
def test_tables_are_up_to_date(stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "save_table", lambda *args, **kwargs: None)
    again = tmp_path / stored.name
    shutil.copy(stored, again)
    rewrite(again)
    assert json.loads(again.read_text()) == json.loads(stored.read_text())
    for suffix in (".md", ".csv"):
        now, before = (path.with_suffix(suffix).read_text() for path in (again, stored))
        folder = stored.parent.relative_to(PROJECT)
        assert now == before, f"write it again: python -m phases.reproduce.stored_tables {folder}"
    assert "paper" not in again.with_suffix(".md").read_text()


def test_rows_that_a_table_got_later_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "save_table", lambda *args, **kwargs: None)
    content = json.loads((RANDOM / "mirror.json").read_text())
    for rows in (content["values"], content["diverged"]):
        del rows["as is alone"]
    content["runs"] = [each for each in content["runs"] if each["row"] != "as is alone"]
    (tmp_path / "mirror.json").write_text(json.dumps(content))
    rewrite(tmp_path / "mirror.json")
    written = (tmp_path / "mirror.md").read_text()
    assert "| with mirror images |" in written and "as is alone" not in written
    assert json.loads((tmp_path / "mirror.json").read_text()) == content


def test_a_table_of_other_rows_is_refused(tmp_path: Path) -> None:
    content = json.loads((RANDOM / "mirror.json").read_text())
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
