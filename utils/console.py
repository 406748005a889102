"""What is printed: no line is lost where few characters can be shown, none is written where nobody reads."""

import io
import logging
import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

CLOSED_PIPE = 128 + signal.SIGPIPE  # exit status of what a closed pipe ended, as a shell says it


class Console(logging.StreamHandler):
    """Prints the log. The program ends, quietly, once the reader of its output has gone (`| head -1`)."""

    def handleError(self, record: logging.LogRecord) -> None:
        if isinstance(sys.exc_info()[1], BrokenPipeError):
            say_no_more()
            sys.exit(CLOSED_PIPE)
        super().handleError(record)


def escape_what_cannot_be_shown() -> None:
    """Print a character that the terminal's encoding lacks as its code: café as caf\\xe9."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def ending_quietly() -> Iterator[None]:
    """End the program with CLOSED_PIPE if the reader of its output has gone."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        if not has_no_reader():
            raise
        say_no_more()
        sys.exit(CLOSED_PIPE)


def has_no_reader() -> bool:
    """Whether standard output or standard error is a pipe that nobody reads any more."""
    poll = select.poll()
    for stream in (sys.stdout, sys.stderr):
        poll.register(stream.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def say_no_more() -> None:
    """Let what is still printed go nowhere, what Python itself prints at its end, too."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
