"""One training run: network, loss, optimizer, schedule, and one step of it (docs/method.md, Training).

Under torchrun it is one of several processes, each with a batch of its own.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from datasets import PHOTO, SKETCH
from datasets.annotations import Annotation
from losses import loss_class
from models.gradient_checkpointing import recompute
from phases.train.batches import batches
from run.config import Config
from run.network import blocks_of, build
from run.provenance import provenance
from utils import distributed
from utils.checkpoints import load_strictly
from utils.device import pick_device
from utils.seeding import get_random_state, restore_random_state, stream_seed

WEIGHT_DECAY = 1e-4  # on the network alone
PRECISIONS = {"off": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def norm_of(tensors: list[Tensor]) -> Tensor:
    """The Euclidean norm of all numbers in `tensors`, a scalar on their device; not finite if one is not.

    Also infinite from 1.8e19 on, where the squares that Adam keeps overflow too.
    """
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors)))


def lr_factor(step: int, num_steps: int) -> float:
    """What the learning rate is multiplied with: 1 for the first half, then falling linearly to 0."""
    return min(1.0, 2 * (1 - step / num_steps))


class Objective(nn.Module):
    """Images to loss: the network, in the precision of --amp where that is safe, and the loss in float32."""

    def __init__(self, network: nn.Module, criterion: nn.Module, precision: torch.dtype) -> None:
        super().__init__()
        self.network, self.criterion, self.precision = network, criterion, precision

    def forward(self, images: Tensor, labels: Tensor, domain: Tensor) -> Tensor:
        """(B, 3, S, S), (B,) int64, (B,) in {0, 1} -> the mean loss, a scalar."""
        lower = self.precision != torch.float32
        with torch.autocast(images.device.type, self.precision if lower else None, enabled=lower):
            features = self.network(images, domain)
        return self.criterion(features, labels)


class Trainer:
    """Network, loss, optimizer and schedule of one run: what a checkpoint holds."""

    def __init__(self, config: Config, data: Annotation) -> None:
        torch.manual_seed(config.seed)
        self.config, self.data = config, data
        self.device = pick_device(config.machine)
        self.network = build(config.network)
        self.criterion = loss_class(config.loss.loss_type)(
            data.num_train_classes,
            config.network.f_dim,
            margin=config.loss.margin,
            scale=config.loss.scale,
            annealing_step=config.loss.annealing_step,
            center_norm=config.loss.center_norm,
        )
        if config.train.sync_bn:
            self.network = nn.SyncBatchNorm.convert_sync_batchnorm(
                self.network, process_group=distributed.gpu_group
            )
        if config.train.gradient_checkpointing:
            recompute(blocks_of(self.network, config.network.network))
        self.network.to(self.device).to(memory_format=torch.channels_last).train()
        self.criterion.to(self.device)
        torch.backends.cudnn.allow_tf32 = True  # PyTorch's default, in training alone
        torch.backends.cudnn.benchmark = not config.machine.deterministic  # every batch has the same shape
        if distributed.rank():  # the same weights everywhere, but dropout of its own
            torch.manual_seed(stream_seed(config.seed, distributed.rank()))
        groups: list[dict[str, Any]] = [
            {"params": self.network.parameters(), "weight_decay": WEIGHT_DECAY},
            {"params": self.criterion.parameters()},
        ]
        self.optimizer = torch.optim.Adam(groups, lr=config.train.lr, fused=True)
        self.schedule = LambdaLR(self.optimizer, partial(lr_factor, num_steps=config.train.num_steps))
        # gradients of float16 are lifted out of its underflow; with any other precision this does nothing
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=config.train.amp == "fp16")
        self.step = 0
        self.within_step = False  # between two steps all that is saved belongs together
        self.gradient_norm = torch.zeros((), device=self.device)  # of the last step, as --amp=fp16 scaled it

    @cached_property
    def objective(self) -> nn.Module:
        """What is trained, put together at the first step: by then the weights are loaded."""
        if self.config.train.compile:
            self.network.compile()
        return distributed.wrap_ddp(
            Objective(self.network, self.criterion, PRECISIONS[self.config.train.amp]), self.device
        )

    def training_step(self, sketches: tuple[Tensor, Tensor], photos: tuple[Tensor, Tensor]) -> Tensor:
        """One step on a batch of each domain; returns its loss, a scalar still on the device.

        Nothing here waits for the device: the next batch is prepared while it computes.
        """
        self.within_step = True
        parts = list(self.joint_parts(sketches, photos))
        total = torch.zeros((), device=self.device)
        self.optimizer.zero_grad()
        for number, part in enumerate(parts, start=1):
            here = distributed.no_sync(self.objective) if number < len(parts) else nullcontext()
            with here:
                loss = self.objective(*part) * (len(part[1]) / (len(sketches[1]) + len(photos[1])))
                self.scaler.scale(loss).backward()
            total += loss.detach()
        self.gradient_norm = norm_of([each.grad for each in self.parameters() if each.grad is not None])
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        self.criterion.step += 1
        self.step += 1
        self.within_step = False
        return total

    def parameters(self) -> Iterator[nn.Parameter]:
        return chain(self.network.parameters(), self.criterion.parameters())

    def joint_parts(
        self, sketches: tuple[Tensor, Tensor], photos: tuple[Tensor, Tensor]
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Images (2b, 3, S, S), labels and domains (2b,) of --accumulate parts, each with both domains."""
        parts = (each.tensor_split(self.config.train.accumulate) for each in (*sketches, *photos))
        for sketch_images, sketch_labels, photo_images, photo_labels in zip(*parts, strict=True):
            images, labels = (
                torch.cat([each.to(self.device, non_blocking=True) for each in pair])
                for pair in ((sketch_images, photo_images), (sketch_labels, photo_labels))
            )
            domain = torch.full((len(labels),), float(PHOTO), device=self.device)
            domain[: len(sketch_labels)] = SKETCH
            yield images.contiguous(memory_format=torch.channels_last), labels, domain

    @property
    def last_lr(self) -> float:
        """The learning rate of the last step."""
        return self.config.train.lr * lr_factor(self.step - 1, self.config.train.num_steps)

    @property
    def alpha(self) -> float:
        """The share of the margin that the next step applies, in [0, 1]."""
        return float(self.criterion.alpha)

    def batches(self) -> Iterator[tuple]:
        """Pairs of a sketch batch and a photo batch, from this run's step on."""
        return batches(self.config, self.data, start=self.step, device=self.device)

    def state_dict(self) -> dict[str, Any]:
        """All that a continued run needs to equal one that never stopped."""
        return {
            "step": self.step,
            "network": self.network.state_dict(),
            "loss": self.criterion.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": distributed.gather_objects(get_random_state()),
            "lists": self.data.digest(),
            "left_out": list(self.data.excluded),
            "categories": self.data.categories,
            **provenance(self.config),
        }

    def load_state_dict(self, state: dict[str, Any], path: Path) -> None:
        """Take over what `state_dict` returned, read from `path`. Raises UserError if it does not fit."""
        self.step = state["step"]
        load_strictly(self.network, state["network"], path)
        load_strictly(self.criterion, state["loss"], path)
        self.optimizer.load_state_dict(state["optimizer"])
        for parameter, moments in self.optimizer.state.items():
            for name in ("exp_avg", "exp_avg_sq"):
                # in the parameter's memory layout: the fused step walks both side by side, and a checkpoint
                # from another device may have another layout
                moments[name] = torch.empty_like(parameter).copy_(moments[name])
        self.schedule.load_state_dict(state["schedule"])
        # lengthened: the next step's is another
        if self.config.train.num_steps != state["options"]["num_steps"]:
            factor = lr_factor(self.step, self.config.train.num_steps)
            for group, base in zip(self.optimizer.param_groups, self.schedule.base_lrs, strict=True):
                group["lr"] = base * factor
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        streams = state["random"]
        if len(streams) == distributed.world_size():
            restore_random_state(streams[distributed.rank()])
        else:  # another number of processes has other streams
            torch.manual_seed(stream_seed(self.config.seed, distributed.rank(), self.step))

    def __str__(self) -> str:
        data, config = self.data, self.config
        parameters = sum(parameter.numel() for parameter in self.network.parameters())
        unseen = (
            f" ({len(data.categories) - data.num_train_classes} of them unseen)" if data.zero_shot else ""
        )
        loss = config.loss.loss_type
        if config.loss.margin is not None:
            loss += f" (margin {config.loss.margin:g}, annealed over {config.loss.annealing_step} steps"
            loss += f", scale {config.loss.scale:g})" if config.loss.scale is not None else ")"
        precision = str(PRECISIONS[config.train.amp]).removeprefix("torch.")
        if self.device.type == "cuda" and config.train.amp == "off":
            precision += " with convolutions in TF32"
        processes, batch = distributed.world_size(), distributed.world_size() * config.data.batch_size
        shared = f" in each of {processes} processes, {batch} + {batch} in all" if processes > 1 else ""
        return (
            f"{config.data.dataset}: {len(data.categories)} categories{unseen}, "
            f"{len(data.train_sketches)} training and {len(data.test_sketches)} test sketches, "
            f"{len(data.train_photos)} photos | "
            f"{config.network.network} ({config.network.attention}, {config.network.f_dim} features, "
            f"{parameters / 1e6:.2f} M parameters) | {loss} | "
            f"{config.data.batch_size} + {config.data.batch_size} images of {config.input.image_size} px a "
            f"step{shared} | "
            f"{self.device}, {precision}"
        )
