"""The device that a run computes on."""

from typing import Protocol

import torch

from utils import distributed
from utils.errors import UserError
from utils.seeding import use_deterministic_algorithms


class Machine(Protocol):
    """The settings that `pick_device` needs; run.config.MachineConfig has them."""

    @property
    def device(self) -> str: ...

    @property
    def threads(self) -> int | None: ...

    @property
    def deterministic(self) -> bool: ...


def pick_device(machine: Machine) -> torch.device:
    """The device that --device names; under torchrun each process takes the GPU of its local rank.

    Also applies --threads and --deterministic, and disables TF32 whatever the environment variables say.
    Raises UserError if the device cannot be used.
    """
    if machine.deterministic:
        use_deterministic_algorithms()
    if machine.threads is not None:
        torch.set_num_threads(machine.threads)
    torch.set_float32_matmul_precision("highest")  # TORCH_ALLOW_TF32_CUBLAS_OVERRIDE=1 makes it "high"
    torch.backends.cudnn.allow_tf32 = False
    name = machine.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if distributed.is_distributed() and name.startswith("cuda"):
        if name != "cuda":
            raise UserError(f"--device {name} names one GPU, but torchrun gives every process its own")
        name = f"cuda:{distributed.local_rank()}"
        if torch.cuda.device_count() > distributed.local_rank():
            torch.cuda.set_device(distributed.local_rank())
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError("only cpu and cuda are supported")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"--device {name} cannot be used: {reason}; try --device=cpu") from error
    return device
