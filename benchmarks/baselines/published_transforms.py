"""The published program's transforms: torchvision's, on PIL images.

Tests compare this program's samples with them, and benchmarks/input.py their speed.
"""

import numpy as np
import torch
from PIL import Image, ImageDraw
from torchvision.transforms import InterpolationMode, ToTensor, v2


def sketch_train(size: int) -> v2.Transform:
    return v2.Compose(
        [
            v2.RandomInvert(p=1.0),
            v2.RandomResizedCrop(size, scale=(0.6, 1.0)),
            v2.RandomHorizontalFlip(),
            v2.RandomRotation(90, interpolation=InterpolationMode.BICUBIC),
            ToTensor(),
            v2.RandomErasing(p=0.6, scale=(0.02, 0.2), ratio=(1.0, 1.0)),
            v2.RandomInvert(p=1.0),
            v2.Lambda(three_channels),
        ]
    )


def sketch_test(size: int) -> v2.Transform:
    enlarged = int(1.1 * size)
    steps = [v2.Resize((enlarged, enlarged)), v2.CenterCrop(size), ToTensor()]
    return v2.Compose([*steps, v2.Lambda(three_channels)])


def photo_train(size: int) -> v2.Transform:
    return v2.Compose([v2.RandomHorizontalFlip(), photo_test(size)])


def photo_test(size: int) -> v2.Transform:
    return v2.Compose([v2.Resize((size, size)), ToTensor()])


def three_channels(image: torch.Tensor) -> torch.Tensor:
    return image.expand(3, -1, -1)


def draw_sketch(width: int, height: int, seed: int) -> Image.Image:
    """Curves on white paper, antialiased: 3.5 pixels wide on 1111, 2 on small ones."""
    rng = np.random.default_rng(seed)
    image = Image.new("L", (2 * width, 2 * height), 255)  # to be halved
    for _ in range(12):
        corners = np.sort(rng.uniform(0.05, 0.95, (2, 2)), axis=0) * (2 * width, 2 * height)
        start, end = rng.uniform(0, 360, 2)
        ImageDraw.Draw(image).arc([*corners.ravel()], start, end, fill=0, width=max(4, width // 150))
    return image.reduce(2)
