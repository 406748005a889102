"""Stop a long loop at a good moment."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Becomes true once SIGINT or SIGTERM has arrived; `exit_code` is 128 + the signal's number."""

    exit_code = 0

    def __bool__(self) -> bool:
        return self.exit_code != 0


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Turn the first SIGINT or SIGTERM into a request that the loop can honour; a second acts at once.

    A signal that this process was started to ignore (SIGINT, in the background of a shell script) stays so.
    """
    request = StopRequest()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    previous = {number: handler for number, handler in handlers.items() if handler != signal.SIG_IGN}

    def note(number: int, frame: FrameType | None) -> None:
        request.exit_code = 128 + number
        for each, handler in previous.items():
            signal.signal(each, handler)

    for number in previous:
        signal.signal(number, note)
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
