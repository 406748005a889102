"""The page of all options is that of the program as it is."""

from options.declarations import OPTIONS
from options.page import PAGE, build_page
from tests import tiny_network


def test_the_page_is_up_to_date() -> None:
    tiny_network.unregister()
    text = build_page()
    tiny_network.register()
    assert PAGE.read_text(encoding="utf-8") == text, "write it again: python -m options.page"


def test_every_option_is_on_it() -> None:
    assert all(f"| `--{name}` |" in build_page() for name in OPTIONS)
