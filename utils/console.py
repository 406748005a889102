"""What is printed: no line is lost where few characters can be shown, none is written where nobody reads."""

import io
import logging
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

CLOSED_PIPE = 128 + 13  # of SIGPIPE: exit status of what a closed pipe ended, as a shell says it


class Console(logging.StreamHandler):
    """Prints the log. The program ends, quietly, once the reader of its output has gone (`| head -1`)."""

    told = False  # that nothing can be printed

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, BrokenPipeError):
            silence_output()
            sys.exit(CLOSED_PIPE)
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self.told:  # the work goes on where the disk of a log file is full
            self.told = True
            print(f"warning: the output cannot be written: {error.strerror}", file=sys.stderr)


def escape_unencodable() -> None:
    """Print a character that the terminal's encoding lacks as its code: café as caf\\xe9."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def exit_on_closed_pipe() -> Iterator[None]:
    """End the program with CLOSED_PIPE if the reader of its output has gone."""
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
        except OSError as error:  # of a full disk
            print(f"error: the output cannot be written: {error.strerror}", file=sys.stderr)
            silence_output()
            sys.exit(2)


def find_streams() -> list[TextIO]:
    """Standard output and standard error, those that the program was started with."""
    return [stream for stream in (sys.stdout, sys.stderr) if stream is not None]


def has_no_reader() -> bool:
    """Whether standard output or standard error is a pipe that nobody reads any more."""
    if not hasattr(select, "poll"):  # Windows: taken for it
        return True
    poll = select.poll()
    for stream in find_streams():
        poll.register(stream.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def silence_output() -> None:
    """Let what is still printed go nowhere, what Python itself prints at its end, too."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in find_streams():
        os.dup2(nowhere, stream.fileno())
