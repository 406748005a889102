"""Fixtures of the tests that break things on purpose."""

import time
from collections.abc import Callable

import pytest

from tests.reliability.ledger import note


@pytest.fixture
def ledger(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Called as ledger(point, tried, times=, outcome=); short slices leave nothing behind."""
    start = time.monotonic()

    def write(point: int, tried: str, *, times: int, outcome: str) -> None:
        if request.node.get_closest_marker("long"):
            note(request.node.name, point, tried, times, outcome, time.monotonic() - start)

    return write
