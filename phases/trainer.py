"""One training run: network, loss, optimizer, schedule, and one step of it (SPEC section 3)."""

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from datasets import PHOTO, SKETCH, transforms
from datasets.annotations import Annotation
from datasets.loaders import ImageSet, training_batches
from losses import loss_class
from phases import settings
from utils.checkpoints import load_strictly
from utils.seeding import random_state, restore_random_state

WEIGHT_DECAY = 1e-4  # on the network alone


def lr_factor(step: int, num_steps: int) -> float:
    """What the learning rate is multiplied with: 1 for the first half, then falling linearly to 0."""
    return min(1.0, 2 * (1 - step / num_steps))


class Trainer:
    """Network, loss, optimizer and schedule of one run: what a checkpoint holds."""

    def __init__(self, options: argparse.Namespace, data: Annotation) -> None:
        torch.manual_seed(options.seed)
        self.options, self.data = options, data
        self.device = settings.pick_device(options.device)
        self.network = settings.network_of(options)
        self.criterion = loss_class(options.loss_type)(
            data.trained,
            options.f_dim,
            margin=options.margin,
            scale=options.scale,
            annealing_step=options.annealing_step,
        )
        # on two CPU cores channels-last and the fused optimizer made a step of resnet18 1.2 times faster
        layout = torch.channels_last if self.device.type == "cpu" else torch.contiguous_format
        self.network.to(self.device).to(memory_format=layout).train()
        self.criterion.to(self.device)
        groups: list[dict[str, Any]] = [
            {"params": self.network.parameters(), "weight_decay": WEIGHT_DECAY},
            {"params": self.criterion.parameters()},
        ]
        self.optimizer = torch.optim.Adam(groups, lr=options.lr, fused=True)
        self.schedule = LambdaLR(self.optimizer, partial(lr_factor, num_steps=options.num_steps))
        self.step = 0

    def training_step(self, sketches: tuple[Tensor, Tensor], photos: tuple[Tensor, Tensor]) -> Tensor:
        """One step on a batch of each domain; returns its loss, a scalar still on the device."""
        images, labels = (
            torch.cat([part.to(self.device, non_blocking=True) for part in pair])
            for pair in zip(sketches, photos, strict=True)
        )  # (2B, 3, S, S), (2B,)
        domain = torch.ones(len(labels), device=self.device)
        domain[: len(sketches[1])] = SKETCH
        loss = self.criterion(self.network(images, domain), labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        self.criterion.step += 1
        self.step += 1
        return loss.detach()

    @property
    def last_lr(self) -> float:
        """The learning rate of the last step."""
        return self.options.lr * lr_factor(self.step - 1, self.options.num_steps)

    @property
    def alpha(self) -> float:
        """The share of the margin that the next step applies, in [0, 1]."""
        return float(self.criterion.alpha)

    def batches(self) -> Iterator[tuple]:
        """Pairs of a sketch batch and a photo batch, from this run's step on."""
        size, normalize = self.options.image_size, self.options.normalize
        sketches = ImageSet(
            self.data.root,
            self.data.train_sketches,
            SKETCH,
            transforms.sketch_train(size, normalize=normalize),
            self.options.seed,
        )
        photos = ImageSet(
            self.data.root,
            self.data.train_photos,
            PHOTO,
            transforms.photo_train(size, self.options.photo_channels, normalize=normalize),
            self.options.seed,
        )
        load = partial(
            training_batches,
            batch_size=self.options.batch_size,
            workers=self.options.num_workers,
            start=self.step,
        )
        return zip(load(sketches), load(photos), strict=True)

    def state_dict(self) -> dict[str, Any]:
        """All that a continued run needs to equal one that never stopped."""
        return {
            "step": self.step,
            "network": self.network.state_dict(),
            "loss": self.criterion.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "random": random_state(),
            "options": settings.stored_options(self.options),
            "lists": self.data.digest(),
            "categories": self.data.categories,
            "versions": settings.versions(),
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
                # of another kind of device has another layout
                moments[name] = torch.empty_like(parameter).copy_(moments[name])
        self.schedule.load_state_dict(state["schedule"])
        restore_random_state(state["random"])

    def __str__(self) -> str:
        data, options = self.data, self.options
        parameters = sum(parameter.numel() for parameter in self.network.parameters())
        unseen = f" ({len(data.categories) - data.trained} of them unseen)" if data.zero_shot else ""
        loss = options.loss_type
        if options.margin is not None:
            loss += f" (margin {options.margin:g}, annealed over {options.annealing_step} steps"
            loss += f", scale {options.scale:g})" if options.scale is not None else ")"
        return (
            f"{options.dataset}: {len(data.categories)} categories{unseen}, "
            f"{len(data.train_sketches)} training and {len(data.test_sketches)} test sketches, "
            f"{len(data.train_photos)} photos | "
            f"{options.network} ({options.attention}, {options.f_dim} features, "
            f"{parameters / 1e6:.2f} M parameters) | {loss} | "
            f"{options.batch_size} + {options.batch_size} images of {options.image_size} px a step | "
            f"{self.device}, float32"
        )
