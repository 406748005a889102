"""Distributed training under `torchrun`; a single process counts as a group of one.

Only rank 0 logs and writes files, except for the image cache, which every machine builds. After every step
the processes exchange a stop flag over the CPU with a short timeout, so that a lost process is noticed soon.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from utils.errors import UserError

STEP_TIMEOUT = timedelta(seconds=50)  # for the exchange after every step
LONG_TIMEOUT = timedelta(days=1)  # while rank 0 downloads weights, caches images, saves or tests
NCCL_TIMEOUT = timedelta(minutes=30)  # for one exchange between GPUs; another process may be compiling

step_group: Any = None
gpu_group: Any = None  # NCCL, for gradients and BatchNorm; all else goes over the CPU by gloo


def is_distributed() -> bool:
    """Whether torchrun started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE") or 1) > 1


def rank() -> int:
    """The rank of this process; 0 without torchrun."""
    return int(os.environ["RANK"]) if is_distributed() else 0


def world_size() -> int:
    """The number of processes."""
    return int(os.environ["WORLD_SIZE"]) if is_distributed() else 1


def local_rank() -> int:
    """The rank of this process on its machine, which is the index of its GPU."""
    return int(os.environ["LOCAL_RANK"]) if is_distributed() else 0


@contextmanager
def process_group() -> Iterator[None]:
    """Join the process group; inside, ranks above 0 log only warnings.

    At the end all wait for rank 0, because torchrun may run on its machine. Raises UserError if another
    process is lost. After an error the process must exit, because it does not leave the group.
    """
    global step_group, gpu_group
    if not is_distributed():
        yield
        return
    dist.init_process_group("gloo", timeout=LONG_TIMEOUT)
    step_group = dist.new_group(backend="gloo", timeout=STEP_TIMEOUT)
    if torch.cuda.is_available():
        gpu_group = dist.new_group(backend="nccl", timeout=NCCL_TIMEOUT)
    if rank():
        logging.getLogger().setLevel(logging.WARNING)
    try:
        yield
        broadcast_object(None)
    except RuntimeError as error:
        if not is_group_error(error):
            raise
        raise UserError(
            f"lost another of the {world_size()} processes; its own message says why. The same command "
            f"continues from the last checkpoint ({' '.join(str(error).split())})"
        ) from error
    # Only after success: NCCL waits here for pending exchanges, and for ever if a process has failed. After
    # an error, the exit of the process closes its connections.
    step_group = gpu_group = None
    dist.destroy_process_group()


def is_group_error(error: RuntimeError) -> bool:
    """Whether `error` comes from communication with other processes."""
    texts = ("gloo", "Connection closed by peer", "Connection reset by peer", "Timed out waiting")
    return isinstance(error, dist.DistError) or any(text in str(error) for text in texts)


def wrap_ddp(module: nn.Module, device: torch.device) -> nn.Module:
    """`module` with gradients averaged over all processes and the weights of rank 0."""
    if not is_distributed():
        return module
    on_gpu = device.type == "cuda"
    return DistributedDataParallel(
        module, device_ids=[device] if on_gpu else None, process_group=gpu_group if on_gpu else None
    )


def no_sync(module: nn.Module) -> AbstractContextManager:
    """A block in which backward passes accumulate gradients locally, without averaging them."""
    return module.no_sync() if isinstance(module, DistributedDataParallel) else nullcontext()


def all_reduce_max(value: int, *, long_wait: bool = False) -> int:
    """The largest `value` among all processes.

    Waits for the others at most STEP_TIMEOUT, with `long_wait` LONG_TIMEOUT.
    """
    if not is_distributed():
        return value
    shared = torch.tensor(value)
    dist.all_reduce(shared, dist.ReduceOp.MAX, group=None if long_wait else step_group)
    return int(shared)


def all_reduce_mean(value: float) -> float:
    """The mean of `value` over all processes."""
    if not is_distributed():
        return value
    shared = torch.tensor(value, dtype=torch.float64)
    dist.all_reduce(shared, group=step_group)
    return float(shared) / world_size()


def gather_objects(value: Any) -> list[Any]:
    """The `value` of every process by rank on rank 0; an empty list on the others."""
    if not is_distributed():
        return [value]
    values: list[Any] | None = [None] * world_size() if rank() == 0 else None
    dist.gather_object(value, values)
    return values or []


def broadcast_object(value: Any) -> Any:
    """The `value` of rank 0, on all processes. Waits at most LONG_TIMEOUT for it."""
    if not is_distributed():
        return value
    holder = [value]
    dist.broadcast_object_list(holder, src=0)
    return holder[0]


@contextmanager
def main_process_first() -> Iterator[None]:
    """Rank 0 runs the block first, then the others."""
    if rank():
        broadcast_object(None)
    yield
    if rank() == 0:
        broadcast_object(None)


def on_main_process(context: AbstractContextManager) -> AbstractContextManager:
    """`context` on rank 0, a null context on the others."""
    return nullcontext() if rank() else context


def gather_tensor(part: Tensor) -> list[Tensor]:
    """The `part` of every process by rank, all of one shape, on rank 0; an empty list on the others."""
    if not is_distributed():
        return [part]
    local = part.cpu().contiguous()
    parts = [torch.empty_like(local) for _ in range(world_size())] if rank() == 0 else None
    dist.gather(local, parts)
    return parts or []
