"""The first signal asks, the second acts."""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from utils.signals import catch_stop_signals, defer_signals

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture(autouse=True)
def usual_handlers() -> Iterator[None]:
    """Those of a process in the foreground: one in a script's background may ignore SIGINT."""
    before = [signal.getsignal(number) for number in SIGNALS]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for number, handler in zip(SIGNALS, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_is_a_request(number: signal.Signals, code: int) -> None:
    before = signal.getsignal(number)
    with catch_stop_signals() as stop:
        assert not stop
        os.kill(os.getpid(), number)
        time.sleep(0.01)  # handlers run between two instructions
        assert stop and stop.exit_code == code
        assert signal.getsignal(number) == before
    assert signal.getsignal(number) == before


def test_the_second_interrupt_acts_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), catch_stop_signals() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        assert stop
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)


def test_an_ignored_signal_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with catch_stop_signals() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        assert not stop
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_held_back_signals_act_at_the_end() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), defer_signals():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        done.append("the block")
    assert done == ["the block"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler
