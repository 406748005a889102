"""The page of all options is that of the program as it is."""

import pytest

from models import NETWORKS
from phases.options import PHASES_OF
from phases.options_page import PAGE, page
from phases.parser import parse


def test_the_page_is_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(NETWORKS, "tiny")
    assert PAGE.read_text(encoding="utf-8") == page(), "write it anew: python -m phases.options_page"


def test_every_option_is_on_it() -> None:
    names = vars(parse(["--phase=test"])).keys() - {"given", "compared"}
    assert all(f"| `--{name}` |" in page() for name in names)
    assert names >= PHASES_OF.keys()
