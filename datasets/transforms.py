"""What happens to an image before the network sees it (docs/method.md, Training).

Each function returns a transform from a PIL image to float32 (3, S, S) in [0, 1]; sketches come in as grey
("L"), photos as RGB. As in the published program there is no mean/std normalisation, unless `normalize`
says the figures of one: with IMAGENET the range is about [-2.2, 2.7].

The steps are those of torchvision on PIL images, done by Pillow as there, and so are the random draws: for
one seed a sample has the same pixels (the tests compare them, benchmarks/input.py times them). One thing
differs: a training photo is flipped after it is resized, so that a cached one can be used. All is done in
uint8, and that is sent between processes: a twelfth or a quarter of the bytes.
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

Normalisation = tuple[tuple[float, ...], tuple[float, ...]]  # mean and deviation by channel

# what most networks pretrained on ImageNet were fed, by position: torchvision's and pretrainedmodels' figures
IMAGENET: Normalisation = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

Picture = Image.Image | np.ndarray  # uint8, (H, W) if grey, (H, W, 3) if RGB


def unchanged(pixels: Tensor) -> Tensor:
    return pixels


@dataclass(frozen=True)
class Transform:
    """From an image to what the network takes, in the parts that are done in different places.

    `prepare`: an image to uint8 (C, S, S), C = 1 for grey; for photos always the same, so it can be cached.
    `augment`: random changes. `network_input`: the rest, for whole batches, on the device.
    """

    prepare: Callable[[Picture], Tensor]
    augment: Callable[[Tensor], Tensor] = unchanged
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
            mean, std = figures_on(self.normalize, images.device)
            images = (images - mean).div_(std)
        return images


@cache
def figures_on(normalize: Normalisation, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (3, 1, 1), sent to `device` once: each time, it would be waited for."""
    mean, std = (torch.tensor(each, device=device)[:, None, None] for each in normalize)
    return mean, std


def sketch_train(
    size: int, *, normalize: Normalisation | None = None, augmentation: str = "published"
) -> Transform:
    """Random crop, flip, rotation and one erased square; what is filled in is paper.

    With the "strong" `augmentation`, of a sketch drawn more coarsely.
    """
    view = random_view if augmentation == "published" else coarse_view
    return Transform(partial(view, size=size), normalize=normalize)


def sketch_test(size: int, *, normalize: Normalisation | None = None) -> Transform:
    """The whole sketch at 1.1 times the size, and its middle."""
    return Transform(partial(middle, size=size), normalize=normalize)


def photo_train(
    size: int,
    channels: str = "rgb",
    *,
    normalize: Normalisation | None = None,
    augmentation: str = "published",
) -> Transform:
    """The whole photo, mirrored half of the time; `channels` is "rgb" or "bgr".

    With the "strong" `augmentation`, a part of it, lighter or darker.
    """
    vary = flip_by_chance if augmentation == "published" else vary_photo
    return Transform(partial(resized_photo, size=size), vary, channels, normalize)


def photo_test(size: int, channels: str = "rgb", *, normalize: Normalisation | None = None) -> Transform:
    """The whole photo; `channels` is "rgb" or "bgr"."""
    return Transform(partial(resized_photo, size=size), channels=channels, normalize=normalize)


def random_view(image: Picture, size: int) -> Tensor:
    """A sketch as `sketch_train` has it, uint8 (1, S, S)."""
    torch.rand(1)  # torchvision's RandomInvert(p=1) draws too: the samples of a seed stay what they were
    pixels = np.asarray(image)  # (H, W)
    of_this_shape = torch.empty(()).expand(pixels.shape)
    top, left, height, width = RandomResizedCrop.get_params(of_this_shape, [0.6, 1.0], [3 / 4, 4 / 3])
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


def coarse_view(image: Picture, size: int) -> Tensor:
    """A sketch as `sketch_train` has it with the strong augmentation, uint8 (1, S, S)."""
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image)
    return random_view(draw_coarsely(image), size)


def flip_by_chance(pixels: Tensor) -> Tensor:
    return pixels.flip(-1) if torch.rand(1) < 0.5 else pixels


def middle(image: Picture, size: int) -> Tensor:
    """A sketch as `sketch_test` has it, uint8 (1, S, S)."""
    enlarged = int(1.1 * size)
    first = round((enlarged - size) / 2)
    crop = resize(image, enlarged).crop((first, first, first + size, first + size))
    return torch.from_numpy(np.array(crop))[None]


def resized_photo(image: Picture, size: int) -> Tensor:
    """RGB at any size -> uint8 (3, S, S)."""
    return torch.from_numpy(np.array(resize(image, size))).permute(2, 0, 1)  # channels last in memory


def resize(image: Picture, size: int) -> Image.Image:
    """To (S, S), with Pillow's antialiased bilinear filter: the published pixels to the last bit."""
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image)
    return image.resize((size, size), Image.Resampling.BILINEAR)
