"""Texts from jinja templates; in HTML every value is escaped."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def render(template: Path, **values: Any) -> str:
    """The text of the file `template` with `values` put in; it may include files beside it.

    Values are escaped if the name ends in .html.j2. A name that is in the template alone raises an error.
    """
    environment = Environment(
        loader=FileSystemLoader(template.parent),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template.name).render(values)
