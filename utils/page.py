"""Pages of HTML in one file: pictures inside, nothing fetched, no script, every text escaped.

The page forbids itself whatever is not inside it (Content-Security-Policy), so that even a text that slipped
through could load and run nothing.
"""

import base64
import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
CSS = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem 1rem 3rem; max-width: 82rem; background: #fff; color: #202020;
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: .5rem 0; }
h2 { font-size: 1.3rem; margin: 2.5rem 0 .75rem; padding-top: .75rem; border-top: 2px solid #0072b2; }
h3 { font-size: 1.05rem; margin: 1.5rem 0 .5rem; }
p, li { max-width: 48rem; }
a { color: #00548a; }
nav ul { columns: 14rem; padding-left: 1.2rem; margin: .5rem 0; }
.warning { border-left: .4rem solid #d55e00; background: #fdf1e9; padding: .6rem 1rem; max-width: none; }
.pictures { display: grid; gap: 1.5rem 2rem; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 32rem), 1fr)); }
figure { margin: 0; min-width: 0; }
.wide { grid-column: 1 / -1; }
figure img { display: block; width: 100%; height: auto; }
figcaption { font-size: .9rem; color: #404040; margin-top: .4rem; max-width: 48rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; margin: .75rem 0; }
caption { text-align: left; white-space: nowrap; color: #404040; padding-bottom: .3rem; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #d5d5d5; text-align: left; vertical-align: top; }
thead th { border-bottom: 2px solid #707070; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
summary { cursor: pointer; color: #00548a; padding: .3rem 0; }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav { display: none; }
  figure, tr { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  .scroll { overflow: visible; }
  .pictures { grid-template-columns: 1fr 1fr; }
  figure img { min-width: 0 !important; }
}
"""


class Html(str):
    """Text that is HTML already; any other is escaped."""


@dataclass(frozen=True)
class Section:
    """A part of a page with a heading: `key` is its place in links, `content` text or Html."""

    key: str
    title: str
    content: Sequence[str]


def escaped(value: object) -> Html:
    """`value` as HTML: itself if it is some, else its text."""
    return value if isinstance(value, Html) else Html(html.escape(str(value)))


def joined(parts: Iterable[object], between: str = "\n") -> Html:
    return Html(between.join(escaped(part) for part in parts))


def element(name: str, *content: object, **attributes: object) -> Html:
    """<name ...>content</name>; `class_` stands for class, `aria_label` for aria-label."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escaped(value)}"' for key, value in attributes.items()
    )
    return Html(f"<{name}{written}>{joined(content, '')}</{name}>")


def table(header: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> Html:
    """A table that scrolls by itself; numbers are set to the right, to one decimal place, None is empty."""
    rows = [list(row) for row in rows]
    head = element("tr", *(element("th", name, scope="col") for name in header))
    body = [element("tr", *(cell(value, first=not place) for place, value in enumerate(row))) for row in rows]
    parts = [element("caption", caption)] if caption else []
    parts += [element("thead", head), element("tbody", joined(body))]
    return scrolling(element("table", *parts), caption or "table")


def cell(value: object, *, first: bool) -> Html:
    if isinstance(value, float):
        return element("td", f"{value:.1f}", class_="number")
    if isinstance(value, int) and not isinstance(value, bool):
        return element("td", f"{value:,}", class_="number")
    shown = "" if value is None else value
    return element("th", shown, scope="row") if first else element("td", shown)


def scrolling(content: Html, label: str) -> Html:
    """`content` in a box that scrolls sideways on a narrow screen, also by the keyboard."""
    return element("div", content, class_="scroll", role="region", aria_label=label, tabindex=0)


def picture(path: Path, alt: str, caption: str, *, size: float = 0.8, least: float = 0) -> Html:
    """The PNG at `path`, inside the page, at most `size` pixels of the screen to a pixel of its own.

    On a narrow screen it shrinks, to fit or to `least`; with that it takes a row of its own, and scrolls.
    """
    with Image.open(path) as image:
        width = image.width
    data = base64.b64encode(path.read_bytes()).decode()
    limits = f"max-width: {size * width:.0f}px; min-width: {least * width:.0f}px"
    shown = Html(f'<img src="data:image/png;base64,{data}" alt="{escaped(alt)}" style="{limits}">')
    caption_below = element("figcaption", caption)
    if least:
        return element("figure", scrolling(shown, alt), caption_below, class_="wide")
    return element("figure", shown, caption_below)


def pictures(*figures: Html) -> Html:
    """Figures side by side where there is room."""
    return element("div", joined(figures), class_="pictures")


def paragraph(*content: object) -> Html:
    return element("p", *content)


def warning(text: str) -> Html:
    return element("p", text, class_="warning", role="note")


def folded(title: str, *content: object) -> Html:
    """Content that is shown when its title is chosen."""
    return element("details", element("summary", title), *content)


def document(title: str, introduction: Sequence[object], sections: Sequence[Section]) -> str:
    """The whole page: title, introduction, table of contents, sections."""
    links = [element("li", element("a", each.title, href=f"#{each.key}")) for each in sections]
    body = [
        element("h1", title),
        *introduction,
        element("nav", element("ul", joined(links)), aria_label="contents"),
        *(
            element("section", element("h2", each.title), joined(each.content), id=each.key)
            for each in sections
        ),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escaped(POLICY)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{escaped(title)}</title>\n<style>{CSS}</style>\n</head>\n"
        f"<body>\n{joined(body)}\n</body>\n</html>\n"
    )
