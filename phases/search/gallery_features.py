"""Features of the files of a gallery: computed where an image can be read, and put together."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from datasets import PHOTO
from datasets.images import UnreadableImage
from datasets.loaders import Batch, ImageSet, ordered_batches
from retrieval.embed import embed
from run.config import Config
from run.feature_files import create_feature_file
from run.input import photo_transform
from utils.errors import Diverged, UserError

UNREADABLE = -1  # the label of an image that cannot be read


def embed_files(
    names: list[str],
    root: Path,
    path: Path,
    network: nn.Module,
    config: Config,
    device: torch.device,
) -> list[int]:
    """Write the features of the images `names` to a new file at `path`; labels, UNREADABLE or another."""
    images = ReadableImages(root, [(name, 0) for name in names], PHOTO, photo_transform(config))
    labels: list[int] = []

    def noted() -> Iterator[Batch]:
        for pixels, of_batch in ordered_batches(
            images, config.data.batch_size, workers=config.data.num_workers, device=device
        ):
            labels.extend(of_batch.tolist())
            yield pixels, of_batch

    file = create_feature_file(path, (2, len(names), config.network.f_dim))
    done = 0  # counted here: a disabled bar stays at 0
    with tqdm(total=len(names), unit="image", desc="embed gallery", dynamic_ncols=True) as bar:
        for part in embed(network, noted(), domain=PHOTO, device=device):
            if not part.isfinite().all():
                raise Diverged(f"features of {root} are not finite: the training diverged, take another step")
            count = part.shape[1]
            file[:, done : done + count] = part.cpu().numpy()
            done += count
            bar.update(count)
    file.flush()
    return labels


class ReadableImages(ImageSet):
    """As `ImageSet`, but an image that cannot be read is black, and its label UNREADABLE."""

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int] | UserError:
        sample = super().__getitem__(key)
        if isinstance(sample, UnreadableImage):
            black = Image.new("RGB", (1, 1))
            return self.transform.augment(self.transform.prepare(black)), UNREADABLE
        return sample


def copy_features(sources: list[tuple[np.ndarray, int]], path: Path, width: int) -> None:
    """Write rows of features (N, width, 2) one after the other to a new file at `path`."""
    file = create_feature_file(path, (2, len(sources), width))
    for place, (values, row) in enumerate(sources):
        file[:, place] = values[row].T
    file.flush()
