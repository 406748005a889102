"""SIGINT and SIGTERM: stop a loop between two steps, or hold them back for a moment."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """True once SIGINT or SIGTERM has arrived; `exit_code` is then 128 + the signal's number."""

    exit_code = 0

    def __bool__(self) -> bool:
        return self.exit_code != 0


@contextmanager
def catch_stop_signals() -> Iterator[StopRequest]:
    """Turn the first SIGINT or SIGTERM into a request for the loop to check; a second acts at once.

    A signal that this process was started to ignore (SIGINT, in the background of a script) stays ignored.
    """
    request = StopRequest()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    previous = {number: handler for number, handler in handlers.items() if handler != signal.SIG_IGN}

    def record_request(number: int, frame: FrameType | None) -> None:
        request.exit_code = 128 + number
        for earlier, handler in previous.items():
            signal.signal(earlier, handler)

    for number in previous:
        signal.signal(number, record_request)
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def defer_signals() -> Iterator[None]:
    """Delay SIGINT and SIGTERM until the end of the block. Only in the main thread, which handles signals.

    An exception of a handler is lost if it is raised while Python forks a process.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    replaced = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in replaced:
        signal.signal(number, lambda number, _: arrived.append(number))
    try:
        yield
    finally:
        for number, handler in replaced.items():
            signal.signal(number, handler)
    for signal_number in arrived:
        signal.raise_signal(signal_number)
