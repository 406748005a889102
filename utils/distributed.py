"""Several processes at one training, as `torchrun` starts them; a single process is a group of one.

Process 0 alone speaks, and alone writes files, but for a cache of images that another machine lacks. The
processes keep in step by a flag that they exchange over the CPU after every step, so that nobody waits long
for one that is gone.
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

STEP_TIMEOUT = timedelta(seconds=50)  # of the exchange after every step
LONG_TIMEOUT = timedelta(days=1)  # while process 0 fetches weights, keeps images, saves or evaluates
NCCL_TIMEOUT = timedelta(minutes=30)  # of one exchange between GPUs; another process may be compiling

step_group: Any = None
gpu_group: Any = None  # gradients and BatchNorm of GPUs; all else goes over the CPU, by gloo


def is_distributed() -> bool:
    """Whether torchrun started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE") or 1) > 1


def rank() -> int:
    """The number of this process, from 0 on."""
    return int(os.environ["RANK"]) if is_distributed() else 0


def world_size() -> int:
    """How many processes there are."""
    return int(os.environ["WORLD_SIZE"]) if is_distributed() else 1


def local_rank() -> int:
    """The number of this process on its machine: the GPU that it takes."""
    return int(os.environ["LOCAL_RANK"]) if is_distributed() else 0


@contextmanager
def process_group() -> Iterator[None]:
    """Meet the other processes; inside, only process 0 logs more than warnings.

    At the end all wait for process 0: torchrun on its own machine may depend on the others' being there.
    Losing another process inside raises UserError. After an error the process must end: it stays in the
    group.
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
            f"lost another of the {world_size()} processes, whose own message says why; the last checkpoint "
            f"counts, the same command continues ({' '.join(str(error).split())})"
        ) from error
    # Only after success: NCCL waits here for what is under way between GPUs, and for ever if a process has
    # failed. After an error the message is printed, and the end of the process closes its connections.
    step_group = gpu_group = None
    dist.destroy_process_group()


def is_group_error(error: RuntimeError) -> bool:
    """Whether `error` comes from the exchange with other processes."""
    texts = ("gloo", "Connection closed by peer", "Connection reset by peer", "Timed out waiting")
    return isinstance(error, dist.DistError) or any(text in str(error) for text in texts)


def wrap_ddp(module: nn.Module, device: torch.device) -> nn.Module:
    """`module` with gradients averaged over all processes and weights as process 0 has them."""
    if not is_distributed():
        return module
    on_gpu = device.type == "cuda"
    return DistributedDataParallel(
        module, device_ids=[device] if on_gpu else None, process_group=gpu_group if on_gpu else None
    )


def no_sync(module: nn.Module) -> AbstractContextManager:
    """Inside, backward passes through a `wrap_ddp` module add to the gradients of this process alone."""
    return module.no_sync() if isinstance(module, DistributedDataParallel) else nullcontext()


def all_reduce_max(value: int, *, long_wait: bool = False) -> int:
    """The largest `value` among all processes. Waits for the others STEP_TIMEOUT at most, or PATIENCE."""
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
    """The `value` of every process, in their order; on process 0 alone, elsewhere empty."""
    if not is_distributed():
        return [value]
    found: list[Any] | None = [None] * world_size() if rank() == 0 else None
    dist.gather_object(value, found)
    return found or []


def broadcast_object(value: Any) -> Any:
    """What process 0 passed, on all processes. Waits for it as long as PATIENCE."""
    if not is_distributed():
        return value
    holder = [value]
    dist.broadcast_object_list(holder, src=0)
    return holder[0]


@contextmanager
def main_process_first() -> Iterator[None]:
    """Process 0 goes through the block first; the others find done what it did."""
    if rank():
        broadcast_object(None)
    yield
    if rank() == 0:
        broadcast_object(None)


def on_main_process(context: AbstractContextManager) -> AbstractContextManager:
    """`context` for process 0, and none for the others."""
    return nullcontext() if rank() else context


def gather_tensor(part: Tensor) -> list[Tensor]:
    """The `part` of every process, of one shape, in their order; on process 0 alone, elsewhere empty."""
    if not is_distributed():
        return [part]
    mine = part.cpu().contiguous()
    found = [torch.empty_like(mine) for _ in range(world_size())] if rank() == 0 else None
    dist.gather(mine, found)
    return found or []
