"""Pieces of HTML in which every text is escaped."""

from collections.abc import Iterable

from markupsafe import Markup, escape

Html = Markup  # text that is HTML already


def join_html(parts: Iterable[object], between: str = "\n") -> Markup:
    """`parts` as one piece; what is no HTML yet is escaped."""
    return Markup(between).join(map(escape, parts))


def make_tag(name: str, *content: object, **attributes: object) -> Markup:
    """<name ...>content</name>; `class_` stands for class, `aria_label` for aria-label."""
    written = join_html(
        (
            Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), value)
            for key, value in attributes.items()
        ),
        "",
    )
    return Markup("<{0}{1}>{2}</{0}>").format(name, written, join_html(content, ""))
