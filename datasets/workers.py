"""Loading processes: whose signals are whose, and what is said when one cannot go on."""

import atexit
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import active_children
from multiprocessing.reduction import ForkingPickler
from tempfile import gettempdir

import torch
from torch import Tensor
from torch.utils.data import default_collate

from utils.errors import UserError
from utils.signals import signals_held_back

Batch = tuple[Tensor, Tensor]  # images, labels (B,) int64

trouble: UserError | None = None  # of this loading process


def prepare(worker: int) -> None:
    """What a loading process does first: leave signals to its parent, and try to hand over a tensor.

    Its batches go through a socket in the folder for temporary files. If that is full, PyTorch finds out in a
    thread, and the main process waits for ever; so it is found out here, for `collate` to say.
    """
    global trouble
    leave_signals_to_the_parent()
    try:
        ForkingPickler.dumps(torch.zeros(1).share_memory_())
    except (OSError, RuntimeError) as error:
        trouble = cannot_work(error)


def leave_signals_to_the_parent() -> None:
    """Let the main process decide when Ctrl-C or SIGTERM reaches the whole process group.

    It finishes its step, saves and ends its loading processes; without it they end by themselves.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def collate(samples: list[tuple[Tensor, int] | UserError]) -> Batch | UserError:
    """One batch, or the first error among its samples, or that of this process."""
    for sample in samples:
        if isinstance(sample, UserError):
            return sample
    try:
        return trouble or default_collate(samples)
    except RuntimeError as error:
        if "shared memory" not in str(error):
            raise
        return cannot_work(error)


def begun(batches: Iterable[Batch | UserError]) -> Iterator[Batch | UserError]:
    """An iterator over the batches, for which processes may be started. Raises UserError if that fails."""
    try:
        with signals_held_back():
            return iter(batches)
    except OSError as error:
        raise cannot_work(error) from error
    finally:  # the last to be registered is the first to be called, and PyTorch's own waits for seconds
        atexit.unregister(end_all)
        atexit.register(end_all)


def end_all() -> None:
    """End the loading processes of an exit that no loader was told of, after SIGTERM for instance."""
    left = [process for process in active_children() if process.daemon]
    if left:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch's handler would take it for an accident
    for process in left:
        process.kill()


def cannot_work(error: Exception) -> UserError:
    if "AF_UNIX path too long" in str(error):
        return UserError(
            f"loading processes cannot work here: the folder for temporary files, {gettempdir()}, has too "
            "long a path for a socket; set TMPDIR to a shorter one, or take --num_workers=0"
        )
    return UserError(
        f"loading processes cannot work here ({error}); make room in /dev/shm and in the folder for "
        "temporary files (TMPDIR), allow more processes and open files (ulimit -u, -n), or take a smaller "
        "--num_workers, 0 for none"
    )


@contextmanager
def naming_dead_workers() -> Iterator[None]:
    """Raise a UserError when a loading process died, wherever PyTorch says so: its handler acts at once."""
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise UserError(
            f"a loading process died ({str(error).strip()}); if the machine ended it for want of memory, "
            "take a smaller --num_workers, 0 for none, or a smaller --batch_size"
        ) from error
