"""Printing: characters that the terminal cannot encode, closed pipes, and output that cannot be written."""

import io
import logging
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

CLOSED_PIPE = 128 + 13  # the exit status that a shell reports for SIGPIPE


class Console(logging.StreamHandler):
    """Prints the log. Exits silently when the reader of the output has closed the pipe (`| head -1`)."""

    has_warned = False

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, BrokenPipeError):
            silence_output()
            sys.exit(CLOSED_PIPE)
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self.has_warned:  # a full disk under a redirected log must not stop the run
            self.has_warned = True
            print(f"warning: the output cannot be written: {error.strerror}", file=sys.stderr)


def escape_unencodable() -> None:
    """Print characters that the terminal's encoding lacks as escapes: café as caf\\xe9."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def exit_on_closed_pipe() -> Iterator[None]:
    """Exit silently with status CLOSED_PIPE if the reader of the output has closed the pipe."""
    try:
        yield
    except BrokenPipeError:
        if not has_no_reader():
            raise
        silence_output()
        sys.exit(CLOSED_PIPE)
    finally:
        try:
            if sys.stdout:
                sys.stdout.flush()
        except BrokenPipeError:
            silence_output()
            sys.exit(CLOSED_PIPE)
        except OSError as error:  # the disk is full, for example
            print(f"error: the output cannot be written: {error.strerror}", file=sys.stderr)
            silence_output()
            sys.exit(2)


def find_streams() -> list[TextIO]:
    """Standard output and standard error, as far as the program has them."""
    return [stream for stream in (sys.stdout, sys.stderr) if stream is not None]


def has_no_reader() -> bool:
    """Whether standard output or standard error is a pipe whose reader has closed it."""
    if not hasattr(select, "poll"):  # Windows cannot tell
        return True
    poll = select.poll()
    for stream in find_streams():
        poll.register(stream.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def silence_output() -> None:
    """Discard all further output, including what Python prints at exit."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    for stream in find_streams():
        os.dup2(devnull, stream.fileno())
