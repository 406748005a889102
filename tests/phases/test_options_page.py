"""The page of all options is that of the program as it is."""

from phases.options import PHASES_OF
from phases.options_page import PAGE, page
from phases.parser import parse
from tests import tiny_network


def test_the_page_is_up_to_date() -> None:
    tiny_network.unregister()
    text = page()
    tiny_network.register()
    assert PAGE.read_text(encoding="utf-8") == text, "write it anew: python -m phases.options_page"


def test_every_option_is_on_it() -> None:
    names = vars(parse(["--phase=test"])).keys() - {"given", "compared"}
    assert all(f"| `--{name}` |" in page() for name in names)
    assert names >= PHASES_OF.keys()
