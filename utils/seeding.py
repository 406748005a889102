"""Random number generators: one seed per run, one stream per sample; and deterministic algorithms."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def stream_seed(*keys: int) -> int:
    """A 64-bit seed that depends on all `keys` (non-negative integers) and on their order."""
    # with the number of keys, because SeedSequence gives (1,) and (1, 0) the same state
    return int(np.random.SeedSequence([len(keys), *keys]).generate_state(1, np.uint64)[0])


@contextmanager
def seeded_rng(*keys: int) -> Iterator[None]:
    """Seed PyTorch's CPU generator by `keys` inside the block, then restore its state.

    torchvision's transforms draw from that global generator. Inside this block, what they draw depends only
    on `keys`, not on the worker, the order of samples or what ran before.
    """
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(stream_seed(*keys))
    try:
        yield
    finally:
        torch.set_rng_state(state)


def get_random_state() -> dict:
    """The states of PyTorch's generators on the CPU and on every GPU, from which training draws."""
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()}


def restore_random_state(state: dict) -> None:
    """Restore the generators to the states that `get_random_state` returned.

    GPU states are restored only if this machine has the same number of GPUs; otherwise dropout starts again
    from the run's seed.
    """
    torch.set_rng_state(state["cpu"])
    if len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def use_deterministic_algorithms() -> None:
    """Make PyTorch bitwise repeatable, on CUDA too. To be called before anything is computed on CUDA.

    Operations without a deterministic algorithm raise RuntimeError. On the CPU, PyTorch is repeatable anyway
    for a given number of threads.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False  # it may choose a different algorithm in each run
