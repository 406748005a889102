"""HTML in which all text is escaped."""

from collections.abc import Iterable

from markupsafe import Markup, escape

Html = Markup  # a string that is HTML already


def join_html(parts: Iterable[object], separator: str = "\n") -> Markup:
    """Join `parts`; those that are not HTML yet are escaped."""
    return Markup(separator).join(map(escape, parts))


def make_tag(name: str, *content: object, **attributes: object) -> Markup:
    """The HTML element <name ...>content</name>; `class_` becomes class, `aria_label` aria-label."""
    attribute_html = join_html(
        (
            Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), value)
            for key, value in attributes.items()
        ),
        "",
    )
    return Markup("<{0}{1}>{2}</{0}>").format(name, attribute_html, join_html(content, ""))
