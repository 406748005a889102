"""Network, loss, optimizer and schedule of a run, and one training step (docs/method.md, Training).

Under torchrun each process has a trainer, and trains on its part of the batch.
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
from datasets.loaders import Batch
from losses import loss_class
from models.gradient_checkpointing import enable_gradient_checkpointing
from phases.train.batches import load_batches
from run.config import Config
from run.network import build, find_blocks
from run.provenance import provenance
from utils import distributed
from utils.checkpoints import load_strictly
from utils.device import pick_device
from utils.seeding import get_random_state, restore_random_state, stream_seed

WEIGHT_DECAY = 1e-4  # on the network, not on the class centres
PRECISIONS = {"off": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def total_norm(tensors: list[Tensor]) -> Tensor:
    """The Euclidean norm of all numbers in `tensors`, a scalar on their device; not finite if one is not.

    It is infinite from 1.8e19 on, where the squares in Adam's second moment overflow too.
    """
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors)))


def lr_factor(step: int, num_steps: int) -> float:
    """The factor on the learning rate: 1 for the first half of the training, then falling linearly to 0."""
    return min(1.0, 2 * (1 - step / num_steps))


class Objective(nn.Module):
    """From images to the loss: the network under autocast (--amp), the loss in float32.

    One module for both, so that DistributedDataParallel averages the gradients of both.
    """

    def __init__(self, network: nn.Module, criterion: nn.Module, precision: torch.dtype) -> None:
        super().__init__()
        self.network, self.criterion, self.precision = network, criterion, precision

    def forward(self, images: Tensor, labels: Tensor, domain: Tensor) -> Tensor:
        """(B, 3, S, S), (B,) int64, (B,) in {0, 1} -> the mean loss, a scalar."""
        is_mixed = self.precision != torch.float32
        with torch.autocast(images.device.type, self.precision if is_mixed else None, enabled=is_mixed):
            features = self.network(images, domain)  # (B, f_dim)
        return self.criterion(features, labels)


class Trainer:
    """Network, loss, optimizer and schedule of one run, whose state a checkpoint holds.

    `training_step` is one step. Between steps, `step` is the number of steps so far and `gradient_norm` the
    norm of the last gradient, a scalar on the device, scaled as the GradScaler of --amp=fp16 scaled it.
    """

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
            enable_gradient_checkpointing(find_blocks(self.network, config.network.network))
        self.network.to(self.device).to(memory_format=torch.channels_last).train()
        self.criterion.to(self.device)
        torch.backends.cudnn.allow_tf32 = True  # PyTorch's default; tests compute in full float32
        torch.backends.cudnn.benchmark = not config.machine.deterministic  # every batch has the same shape
        if distributed.rank():  # all processes have the same weights, but each its own dropout
            torch.manual_seed(stream_seed(config.seed, distributed.rank()))
        groups: list[dict[str, Any]] = [
            {"params": self.network.parameters(), "weight_decay": WEIGHT_DECAY},
            {"params": self.criterion.parameters()},
        ]
        self.optimizer = torch.optim.Adam(groups, lr=config.train.lr, fused=True)
        self.schedule = LambdaLR(self.optimizer, partial(lr_factor, num_steps=config.train.num_steps))
        # scales the loss so that gradients do not underflow in float16; does nothing in other precisions
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=config.train.amp == "fp16")
        self.step = 0
        self.within_step = False  # if true, parts of the state belong to different steps: do not save
        self.gradient_norm = torch.zeros((), device=self.device)

    @cached_property
    def objective(self) -> nn.Module:
        """The module that is trained, compiled and wrapped for several processes as the options ask.

        It is made at the first step, when the weights have been loaded.
        """
        if self.config.train.compile:
            self.network.compile()
        return distributed.wrap_ddp(
            Objective(self.network, self.criterion, PRECISIONS[self.config.train.amp]), self.device
        )

    def training_step(self, sketches: Batch, photos: Batch) -> Tensor:
        """Train one step on a batch of each domain; returns the loss, a scalar on the device.

        Nothing here waits for the device: the next batch is prepared while it computes.
        """
        self.within_step = True
        parts = self.join_domains(sketches, photos)
        num_images = len(sketches[1]) + len(photos[1])
        total_loss = torch.zeros((), device=self.device)
        self.optimizer.zero_grad()
        for number, (images, labels, domain) in enumerate(parts, start=1):
            is_last = number == len(parts)
            # the processes average their gradients once, with the last part
            with nullcontext() if is_last else distributed.no_sync(self.objective):
                loss = self.objective(images, labels, domain) * (len(labels) / num_images)
                self.scaler.scale(loss).backward()
            total_loss += loss.detach()
        self.gradient_norm = total_norm([p.grad for p in self.parameters() if p.grad is not None])
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        self.criterion.step += 1
        self.step += 1
        self.within_step = False
        return total_loss

    def parameters(self) -> Iterator[nn.Parameter]:
        return chain(self.network.parameters(), self.criterion.parameters())

    def join_domains(self, sketches: Batch, photos: Batch) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Join sketches and photos, b images each, into one batch, split into --accumulate parts.

        Each part has images (2b / accumulate, 3, S, S), their labels and their domains, on the device, and as
        many sketches as photos.
        """
        sketch_parts = [tensor.tensor_split(self.config.train.accumulate) for tensor in sketches]
        photo_parts = [tensor.tensor_split(self.config.train.accumulate) for tensor in photos]
        parts = []
        for sketch_images, sketch_labels, photo_images, photo_labels in zip(
            *sketch_parts, *photo_parts, strict=True
        ):
            images = torch.cat([self.to_device(sketch_images), self.to_device(photo_images)])
            labels = torch.cat([self.to_device(sketch_labels), self.to_device(photo_labels)])
            domain = torch.full((len(labels),), float(PHOTO), device=self.device)
            domain[: len(sketch_labels)] = SKETCH
            parts.append((images.contiguous(memory_format=torch.channels_last), labels, domain))
        return parts

    def to_device(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, non_blocking=True)

    @property
    def last_lr(self) -> float:
        """The learning rate of the last step."""
        return self.config.train.lr * lr_factor(self.step - 1, self.config.train.num_steps)

    @property
    def alpha(self) -> float:
        """The fraction of the margin that the next step applies, in [0, 1]."""
        return float(self.criterion.alpha)

    def batches(self) -> Iterator[tuple[Batch, Batch]]:
        """Pairs of a sketch batch and a photo batch for the steps that follow."""
        return load_batches(self.config, self.data, start=self.step, device=self.device)

    def state_dict(self) -> dict[str, Any]:
        """The content of a checkpoint: a run that continues from it equals one that never stopped."""
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
        """Load what `state_dict` returned, read from `path`. Raises UserError if it does not fit."""
        self.step = state["step"]
        load_strictly(self.network, state["network"], path)
        load_strictly(self.criterion, state["loss"], path)
        self.optimizer.load_state_dict(state["optimizer"])
        for parameter, moments in self.optimizer.state.items():
            for name in ("exp_avg", "exp_avg_sq"):
                # in the parameter's memory layout, as fused Adam needs it: a checkpoint from another device
                # may have another layout
                moments[name] = torch.empty_like(parameter).copy_(moments[name])
        self.schedule.load_state_dict(state["schedule"])
        # a lengthened training has another learning rate in its next step than the stored one
        if self.config.train.num_steps != state["options"]["num_steps"]:
            factor = lr_factor(self.step, self.config.train.num_steps)
            for group, base in zip(self.optimizer.param_groups, self.schedule.base_lrs, strict=True):
                group["lr"] = base * factor
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        random_states = state["random"]
        if len(random_states) == distributed.world_size():
            restore_random_state(random_states[distributed.rank()])
        else:  # the checkpoint is from another number of processes
            torch.manual_seed(stream_seed(self.config.seed, distributed.rank(), self.step))

    def describe(self) -> str:
        """Data set, network, loss, batch and device in one line for the log."""
        data, config = self.data, self.config
        num_unseen = len(data.categories) - data.num_train_classes
        unseen = f" ({num_unseen} of them unseen)" if data.zero_shot else ""
        num_parameters = sum(parameter.numel() for parameter in self.network.parameters())
        return (
            f"{config.data.dataset}: {len(data.categories)} categories{unseen}, "
            f"{len(data.train_sketches)} training and {len(data.test_sketches)} test sketches, "
            f"{len(data.train_photos)} photos | "
            f"{config.network.network} ({config.network.attention}, {config.network.f_dim} features, "
            f"{num_parameters / 1e6:.2f} M parameters) | {self.describe_loss()} | {self.describe_batch()} | "
            f"{self.device}, {self.describe_precision()}"
        )

    def describe_loss(self) -> str:
        loss = self.config.loss
        if loss.margin is None:
            return loss.loss_type
        settings = f"margin {loss.margin:g}, annealed over {loss.annealing_step} steps"
        if loss.scale is not None:
            settings += f", scale {loss.scale:g}"
        return f"{loss.loss_type} ({settings})"

    def describe_batch(self) -> str:
        size, processes = self.config.data.batch_size, distributed.world_size()
        text = f"{size} + {size} images of {self.config.input.image_size} px a step"
        if processes > 1:
            text += f" in each of {processes} processes, {processes * size} + {processes * size} in all"
        return text

    def describe_precision(self) -> str:
        precision = str(PRECISIONS[self.config.train.amp]).removeprefix("torch.")
        if self.device.type == "cuda" and self.config.train.amp == "off":
            precision += " with convolutions in TF32"
        return precision
