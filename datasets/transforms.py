"""Image transforms for training and test (docs/method.md, Training).

Each function returns a transform from a PIL image (sketches in mode "L", photos in RGB) to float32 (3, S, S)
in [0, 1]. As in the published program there is no mean/std normalisation unless `normalize` gives one; with
IMAGENET the range is about [-2.2, 2.7].

The steps and the random draws are those of torchvision on PIL images, implemented with Pillow: the same seed
gives the same pixels (tests compare them, benchmarks/input.py times them). One difference: a training photo
is flipped after resizing, so that cached photos can be used. Everything stays uint8, which is also what
workers send: 1/12 or 1/4 of the bytes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import RandomErasing, RandomResizedCrop, RandomRotation

from datasets.strong import draw_coarsely, vary_photo

Normalisation = tuple[tuple[float, ...], tuple[float, ...]]  # mean and standard deviation per channel

# for most networks pretrained on ImageNet: the values of torchvision and pretrainedmodels
IMAGENET: Normalisation = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

Picture = Image.Image | np.ndarray  # uint8, (H, W) if grey, (H, W, 3) if RGB


def identity(pixels: Tensor) -> Tensor:
    return pixels


@dataclass(frozen=True)
class Transform:
    """From an image to the network's input, split by where each part runs.

    `prepare`: image -> uint8 (C, S, S), C = 1 for grey; deterministic for photos, so it can be cached.
    `augment`: random changes. `network_input`: the rest, for whole batches, on the device.
    """

    prepare: Callable[[Picture], Tensor]
    augment: Callable[[Tensor], Tensor] = identity
    channels: str = "rgb"
    normalize: Normalisation | None = None

    def __call__(self, image: Picture) -> Tensor:
        return self.network_input(self.augment(self.prepare(image)))

    def network_input(self, pixels: Tensor) -> Tensor:
        """uint8 (..., C, S, S) -> float32 (..., 3, S, S), on the device of `pixels`."""
        images = pixels.float().div_(255).expand(*pixels.shape[:-3], 3, -1, -1)
        if self.channels == "bgr":
            images = images.flip(-3)
        if self.normalize:
            mean, std = normalisation_on(self.normalize, images.device)
            images = (images - mean).div_(std)
        return images


@cache
def normalisation_on(normalize: Normalisation, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (3, 1, 1) on `device`; cached, because the copy synchronises."""
    mean, std = (torch.tensor(values, device=device)[:, None, None] for values in normalize)
    return mean, std


def sketch_train(
    size: int, *, normalize: Normalisation | None = None, augmentation: str = "published"
) -> Transform:
    """Random crop, flip, rotation and erased square, filled with paper.

    With "strong" `augmentation`, the sketch is made coarser first.
    """
    view = draw_random_view if augmentation == "published" else draw_coarse_view
    return Transform(partial(view, size=size), normalize=normalize)


def sketch_test(size: int, *, normalize: Normalisation | None = None) -> Transform:
    """Resize to 1.1 times the size, then centre crop."""
    return Transform(partial(crop_middle, size=size), normalize=normalize)


def photo_train(
    size: int,
    channels: str = "rgb",
    *,
    normalize: Normalisation | None = None,
    augmentation: str = "published",
) -> Transform:
    """The whole photo, flipped at random; `channels` is "rgb" or "bgr".

    With "strong" `augmentation`, also a random crop, lighter or darker.
    """
    vary = flip_at_random if augmentation == "published" else vary_photo
    return Transform(partial(resize_photo, size=size), vary, channels, normalize)


def photo_test(size: int, channels: str = "rgb", *, normalize: Normalisation | None = None) -> Transform:
    """The whole photo; `channels` is "rgb" or "bgr"."""
    return Transform(partial(resize_photo, size=size), channels=channels, normalize=normalize)


def draw_random_view(image: Picture, size: int) -> Tensor:
    """The published augmentation of `sketch_train`, uint8 (1, S, S)."""
    torch.rand(1)  # RandomInvert(p=1) of the published program draws too: keep the random stream in step
    pixels = np.asarray(image)  # (H, W)
    dummy = torch.empty(()).expand(pixels.shape)  # only its shape counts
    top, left, height, width = RandomResizedCrop.get_params(dummy, [0.6, 1.0], [3 / 4, 4 / 3])
    crop = 255 - pixels[top : top + height, left : left + width]  # 0 is paper
    ink = resize(crop, size)
    if torch.rand(1) < 0.5:
        ink = ink.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    ink = ink.rotate(RandomRotation.get_params([-90.0, 90.0]), Image.Resampling.BICUBIC)
    paper = torch.from_numpy(255 - np.asarray(ink))[None]
    if torch.rand(1) < 0.6:
        top, left, height, width, _ = RandomErasing.get_params(paper, (0.02, 0.2), (1.0, 1.0), [255.0])
        paper[:, top : top + height, left : left + width] = 255
    return paper


def draw_coarse_view(image: Picture, size: int) -> Tensor:
    """The strong augmentation of `sketch_train`, uint8 (1, S, S)."""
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image)
    return draw_random_view(draw_coarsely(image), size)


def flip_at_random(pixels: Tensor) -> Tensor:
    return pixels.flip(-1) if torch.rand(1) < 0.5 else pixels


def crop_middle(image: Picture, size: int) -> Tensor:
    """Resize and centre crop as in `sketch_test`, uint8 (1, S, S)."""
    enlarged = int(1.1 * size)
    first = round((enlarged - size) / 2)
    crop = resize(image, enlarged).crop((first, first, first + size, first + size))
    return torch.from_numpy(np.array(crop))[None]


def resize_photo(image: Picture, size: int) -> Tensor:
    """RGB at any size -> uint8 (3, S, S)."""
    return torch.from_numpy(np.array(resize(image, size))).permute(2, 0, 1)  # channels last in memory


def resize(image: Picture, size: int) -> Image.Image:
    """Resize to (S, S) with Pillow's antialiased bilinear filter: bit-identical to the published program."""
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image)
    return image.resize((size, size), Image.Resampling.BILINEAR)
