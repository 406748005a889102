"""Pages: every text is escaped, pictures are inside, and tables show what they are given."""

import base64
from pathlib import Path

import pytest
from PIL import Image

from utils.page import Html, Section, document, element, escaped, folded, joined, picture, table, warning

EVIL = "<b>&\"'</script>"
SAFE = "&lt;b&gt;&amp;&quot;&#x27;&lt;/script&gt;"


def test_texts_are_escaped_and_html_is_not() -> None:
    assert escaped(EVIL) == SAFE and escaped(Html(EVIL)) == EVIL and escaped(3) == "3"
    assert element("p", EVIL, Html("<i>x</i>"), class_=EVIL) == f'<p class="{SAFE}">{SAFE}<i>x</i></p>'
    assert joined([EVIL, Html("<hr>")], " ") == f"{SAFE} <hr>"
    for made in (table([EVIL], [[EVIL]], EVIL), folded(EVIL, EVIL), warning(EVIL)):
        assert EVIL not in made and SAFE in made


def test_a_page_of_hostile_texts_has_none_of_their_tags() -> None:
    made = document(EVIL, [EVIL], [Section("key", EVIL, [EVIL, element("p", EVIL)])])
    assert EVIL not in made and "<b>" not in made and made.count(SAFE) == 7
    assert "default-src &#x27;none&#x27;" in made and 'href="#key"' in made and 'id="key"' in made


def test_cells_are_aligned_by_what_they_hold() -> None:
    made = table(["name", "n", "x", "known"], [["a", 12345, 1.26, None]])
    assert '<th scope="row">a</th>' in made
    assert '<td class="number">12,345</td><td class="number">1.3</td><td></td>' in made
    assert "<caption>" not in made and "<caption>c</caption>" in table(["a"], [], "c")


@pytest.mark.parametrize("least", [0, 0.5])
def test_pictures_are_inside_with_their_size(tmp_path: Path, least: float) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (200, 10)).save(path)
    made = picture(path, EVIL, EVIL, least=least)
    assert base64.b64encode(path.read_bytes()).decode() in made
    assert f'alt="{SAFE}"' in made and f"<figcaption>{SAFE}</figcaption>" in made
    assert f"max-width: 160px; min-width: {200 * least:.0f}px" in made
    assert ('class="scroll"' in made) == ('class="wide"' in made) == bool(least)
