"""DataLoader workers: signal handling and error reporting."""

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
from utils.signals import defer_signals

Batch = tuple[Tensor, Tensor]  # images, labels (B,) int64

startup_error: UserError | None = None  # of this worker


def set_up_worker(worker: int) -> None:
    """Initialise a worker: ignore signals, and check that it can share a tensor.

    Batches are handed over through a socket in the temporary folder. If that folder is full, PyTorch fails in
    a background thread and the main process waits forever. So test it here, and let `collate` report it.
    """
    global startup_error
    ignore_signals()
    try:
        ForkingPickler.dumps(torch.zeros(1).share_memory_())
    except (OSError, RuntimeError) as error:
        startup_error = worker_error(error)


def ignore_signals() -> None:
    """Leave Ctrl-C and SIGTERM, which reach the whole process group, to the main process.

    It finishes its step, saves, and stops its workers. Orphaned workers exit by themselves.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def collate(samples: list[tuple[Tensor, int] | UserError]) -> Batch | UserError:
    """One batch; or the first error among its samples, or the worker's startup error."""
    for sample in samples:
        if isinstance(sample, UserError):
            return sample
    try:
        return startup_error or default_collate(samples)
    except RuntimeError as error:
        if "shared memory" not in str(error):
            raise
        return worker_error(error)


def start_iterating(batches: Iterable[Batch | UserError]) -> Iterator[Batch | UserError]:
    """Start the workers and return an iterator over the batches. Raises UserError if they cannot start."""
    try:
        with defer_signals():
            return iter(batches)
    except OSError as error:
        raise worker_error(error) from error
    finally:  # registered last, so called first: PyTorch's own exit handler waits for seconds
        atexit.unregister(kill_workers)
        atexit.register(kill_workers)


def kill_workers() -> None:
    """Kill the workers still running at exit, for example after SIGTERM."""
    running = [process for process in active_children() if process.daemon]
    if running:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch's handler would report a crash
    for process in running:
        process.kill()


def worker_error(error: Exception) -> UserError:
    if "AF_UNIX path too long" in str(error):
        return UserError(
            f"DataLoader workers cannot start: the path of the temporary folder {gettempdir()} is too long "
            "for a socket; set TMPDIR to a shorter path, or use --num_workers=0"
        )
    return UserError(
        f"DataLoader workers cannot start ({error}); free space in /dev/shm and in the temporary folder "
        "(TMPDIR), allow more processes and open files (ulimit -u, -n), or use a smaller --num_workers "
        "(0 for none)"
    )


@contextmanager
def explain_dead_workers() -> Iterator[None]:
    """Turn PyTorch's error about a dead worker, which may come up anywhere in the block, into a UserError."""
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise UserError(
            f"a DataLoader worker died ({str(error).strip()}); if the system killed it for lack of memory, "
            "use a smaller --num_workers (0 for none) or a smaller --batch_size"
        ) from error
