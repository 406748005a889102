"""Random states: one seed for a run, one stream for every sample; and sums in one order."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def stream_seed(*keys: int) -> int:
    """A 64-bit seed that depends on all `keys` (non-negative integers) and on their order."""
    # the number of keys goes in because SeedSequence takes (1,) and (1, 0) for the same
    return int(np.random.SeedSequence([len(keys), *keys]).generate_state(1, np.uint64)[0])


@contextmanager
def seeded_rng(*keys: int) -> Iterator[None]:
    """Draw from PyTorch's CPU generator as seeded by `keys`, then restore its state.

    torchvision's transforms draw from that global generator; inside this block what they draw depends on
    `keys` alone, not on the worker, on the order of samples or on what ran before.
    """
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(stream_seed(*keys))
    try:
        yield
    finally:
        torch.set_rng_state(state)


def get_random_state() -> dict:
    """The states of all generators that training draws from: PyTorch's, on the CPU and on every GPU."""
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()}


def restore_random_state(state: dict) -> None:
    """Set the generators to what `get_random_state` returned.

    GPU states are restored as far as this machine has the same number of GPUs; elsewhere dropout draws
    anew from the run's seed.
    """
    torch.set_rng_state(state["cpu"])
    if len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def use_deterministic_algorithms() -> None:
    """From here on, compute the same bits on every call, on CUDA too. Before anything is computed there.

    An operation that cannot raises RuntimeError. What PyTorch does on the CPU repeats anyway, for a number of
    threads.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False  # it may choose another algorithm each time
