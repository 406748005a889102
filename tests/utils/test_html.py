"""Pieces of HTML and templates: every text is escaped."""

from pathlib import Path

import pytest
from jinja2 import UndefinedError

from utils.html import Html, join_html, make_tag
from utils.templates import render

EVIL = "<b>&\"'</script>"
SAFE = "&lt;b&gt;&amp;&#34;&#39;&lt;/script&gt;"


def test_texts_are_escaped_and_html_is_not() -> None:
    assert make_tag("p", EVIL, Html("<i>x</i>"), class_=EVIL) == f'<p class="{SAFE}">{SAFE}<i>x</i></p>'
    assert make_tag("p", 3, aria_label="{0}") == '<p aria-label="{0}">3</p>'
    assert join_html([EVIL, Html("<hr>")], " ") == f"{SAFE} <hr>"


def test_templates_escape_in_html_alone(tmp_path: Path) -> None:
    for name, shown in (("page.html.j2", SAFE), ("card.md.j2", EVIL)):
        (tmp_path / name).write_text(
            "{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}{{ text }}{% endcall %}.\n"
        )
        assert render(tmp_path / name, text=EVIL) == f"{shown}.\n"


def test_a_name_that_nobody_gave_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "page.html.j2").write_text("{{ text }}")
    with pytest.raises(UndefinedError, match="text"):
        render(tmp_path / "page.html.j2")
