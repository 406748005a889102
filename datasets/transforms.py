"""What happens to an image before the network sees it (paper, section 4.1; SPEC section 3).

Each function returns a transform from a PIL image to float32 (3, S, S) in [0, 1]; sketches come in as grey
("L"), photos as RGB. As in the published program there is no mean/std normalisation, unless `normalize`
asks for that of ImageNet: then the range is about [-2.2, 2.7].
"""

import torch
from torchvision.transforms import InterpolationMode, v2

to_unit_range = (v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True))

# what networks pretrained on ImageNet were fed, by position: torchvision's and pretrainedmodels' figures
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def normalised(normalize: bool) -> list[v2.Transform]:
    """The last steps of every transform: none as published, or ImageNet's mean and standard deviation."""
    return [v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)] if normalize else []


def sketch_train(size: int, *, normalize: bool = False) -> v2.Transform:
    """Random crop, mirror, rotation and one erased square, on inverted ink: what is filled in is paper."""
    return v2.Compose(
        [
            v2.RandomInvert(p=1.0),
            v2.RandomResizedCrop(size, scale=(0.6, 1.0)),
            v2.RandomHorizontalFlip(),
            v2.RandomRotation(90, interpolation=InterpolationMode.BICUBIC),
            *to_unit_range,
            v2.RandomErasing(p=0.6, scale=(0.02, 0.2), ratio=(1.0, 1.0)),
            v2.RandomInvert(p=1.0),
            v2.Lambda(three_channels),
            *normalised(normalize),
        ]
    )


def sketch_test(size: int, *, normalize: bool = False) -> v2.Transform:
    """The whole sketch at 1.1 times the size, and its middle."""
    enlarged = int(1.1 * size)
    return v2.Compose(
        [
            v2.Resize((enlarged, enlarged)),
            v2.CenterCrop(size),
            *to_unit_range,
            v2.Lambda(three_channels),
            *normalised(normalize),
        ]
    )


def photo_train(size: int, channels: str = "rgb", *, normalize: bool = False) -> v2.Transform:
    """The whole photo, mirrored half of the time; `channels` is "rgb" or "bgr"."""
    return v2.Compose([v2.RandomHorizontalFlip(), photo_test(size, channels, normalize=normalize)])


def photo_test(size: int, channels: str = "rgb", *, normalize: bool = False) -> v2.Transform:
    """The whole photo; `channels` is "rgb" or "bgr"."""
    steps = [v2.Resize((size, size)), *to_unit_range]
    if channels == "bgr":
        steps.append(v2.Lambda(reversed_channels))
    return v2.Compose([*steps, *normalised(normalize)])


def three_channels(image: torch.Tensor) -> torch.Tensor:
    return image.expand(3, -1, -1)  # (1, S, S) -> (3, S, S)


def reversed_channels(image: torch.Tensor) -> torch.Tensor:
    return image.flip(0)
