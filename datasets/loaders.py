"""Batches of images: endless and shuffled for training, in order for test.

What a training sample looks like depends on the run's seed, the epoch and the sample alone, and which
samples a batch holds on the seed and the batch's number. So a run that continues at step t needs no saved
loader state, and the number of workers changes nothing.
"""

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from datasets import PHOTO, SKETCH
from datasets.annotations import Entry
from datasets.images import read_image
from utils.errors import UserError
from utils.seeding import seeded, stream_seed

MODES = {SKETCH: "L", PHOTO: "RGB"}

Batch = tuple[Tensor, Tensor]  # images (B, 3, S, S) float32 in [0, 1], labels (B,) int64


@dataclass(frozen=True)
class ImageSet(Dataset):
    """The images of `entries` below `root`, of one domain, transformed.

    Indexed by (position, epoch): random transforms draw from a stream of their own for each pair. An
    unreadable image comes back as a UserError rather than raising it, to cross process borders unharmed.
    """

    root: Path
    entries: list[Entry]
    domain: int
    transform: Callable[[Image.Image], Tensor]
    seed: int = 0

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int] | UserError:
        index, epoch = key
        path, label = self.entries[index]
        try:
            image = read_image(self.root / path, MODES[self.domain])
        except UserError as error:
            return error
        with seeded(self.seed, self.domain, epoch, index):
            return self.transform(image), label


class ShuffledBatches(Sampler[list[tuple[int, int]]]):
    """Endless batches of (position, epoch): each epoch in a new order, its last partial batch dropped.

    Starts at batch `start`, as if those before had been taken. Raises UserError if not one batch is full.
    """

    def __init__(self, length: int, batch_size: int, *, seed: int, start: int = 0) -> None:
        if length < batch_size:
            raise UserError(
                f"--batch_size {batch_size} is more than the {length} training images of a domain; "
                "make it smaller"
            )
        self.length, self.batch_size, self.seed, self.start = length, batch_size, seed, start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        per_epoch = self.length // self.batch_size
        epoch, first = divmod(self.start, per_epoch)
        while True:
            generator = torch.Generator().manual_seed(stream_seed(self.seed, epoch))
            order = torch.randperm(self.length, generator=generator).tolist()
            for batch in range(first, per_epoch):
                chosen = order[batch * self.batch_size : (batch + 1) * self.batch_size]
                yield [(index, epoch) for index in chosen]
            epoch, first = epoch + 1, 0


def training_batches(images: ImageSet, batch_size: int, *, workers: int, start: int = 0) -> Iterator[Batch]:
    """Endless batches of `images` from batch number `start` on. Raises UserError at an unreadable image."""
    seed = stream_seed(images.seed, images.domain)
    sampler = ShuffledBatches(len(images), batch_size, seed=seed, start=start)
    return raising(loader(images, sampler, workers))


def ordered_batches(images: ImageSet, batch_size: int, *, workers: int) -> Iterator[Batch]:
    """All of `images` once, in order. Raises UserError at an unreadable image."""
    keys = [(index, 0) for index in range(len(images))]
    batches = [keys[first : first + batch_size] for first in range(0, len(keys), batch_size)]
    return raising(loader(images, batches, workers))


def loader(images: ImageSet, batches: Sampler | list, workers: int) -> DataLoader:
    return DataLoader(
        images,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=leave_signals_to_the_parent,
        # a loader draws once for its workers; from the global generator, that would shift a continued run
        generator=torch.Generator(),
    )


def leave_signals_to_the_parent(worker: int) -> None:
    """Let the main process decide when a signal reaches the whole process group.

    Ctrl-C and the first SIGTERM are not for the worker: the main process finishes its step, saves and ends
    the workers. The second SIGTERM is.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))


def collate(samples: list[tuple[Tensor, int] | UserError]) -> Batch | UserError:
    """One batch, or the first error among its samples."""
    for sample in samples:
        if isinstance(sample, UserError):
            return sample
    return default_collate(samples)


def raising(batches: DataLoader) -> Iterator[Batch]:
    for batch in batches:
        if isinstance(batch, UserError):
            raise batch
        yield batch
