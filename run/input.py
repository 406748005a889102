"""The input of the network: image transforms and normalisation."""

from typing import TYPE_CHECKING

from datasets import transforms
from models import input_normalisation as network_normalisation

if TYPE_CHECKING:
    from run.config import Config


def input_normalisation(config: "Config") -> transforms.Normalisation | None:
    """Mean and standard deviation of the input: the network's, else ImageNet's; None without --normalize."""
    if not config.input.normalize:
        return None
    return network_normalisation(config.network.network) or transforms.IMAGENET


def describe_input(config: "Config") -> str:
    """The normalisation of the input as text."""
    normalisation = input_normalisation(config)
    if normalisation is None:
        return "values in [0, 1], not normalised"
    mean, std = (", ".join(f"{value:g}" for value in dict.fromkeys(part)) for part in normalisation)
    return f"normalised by mean {mean}, standard deviation {std}"


def sketch_transform(config: "Config") -> transforms.Transform:
    return transforms.sketch_test(config.input.image_size, normalize=input_normalisation(config))


def photo_transform(config: "Config") -> transforms.Transform:
    channels = config.input.photo_channels or "rgb"
    return transforms.photo_test(config.input.image_size, channels, normalize=input_normalisation(config))
