"""The first signal asks, the second acts."""

import os
import signal

import pytest

from utils.signals import stop_requests


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_is_a_request(number: signal.Signals, code: int) -> None:
    before = signal.getsignal(number)
    with stop_requests() as stop:
        assert not stop
        os.kill(os.getpid(), number)
        assert stop and stop.exit_code == code
        assert signal.getsignal(number) == before
    assert signal.getsignal(number) == before


def test_the_second_interrupt_acts_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), stop_requests():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        signal.pause()
