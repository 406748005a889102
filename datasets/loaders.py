"""Batches of images: endless and shuffled for training, in order for test.

What a training sample looks like depends on the run's seed, the epoch and the sample alone, and which
samples a batch holds on the seed and the batch's number. So a run that continues at step t needs no saved
loader state, and the number of workers changes nothing.

What loading processes hand over is uint8, grey sketches in one channel: a twelfth (photos: a quarter) of what
the network takes. `delivered` turns it into that, on the device.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from datasets import PHOTO, SKETCH
from datasets.annotations import Entry
from datasets.images import read_image
from datasets.transforms import Transform
from datasets.workers import Batch, begun, collate, naming_dead_workers, prepare
from utils.errors import UserError
from utils.seeding import seeded, stream_seed

MODES = {SKETCH: "L", PHOTO: "RGB"}

CPU = torch.device("cpu")

Share = tuple[int, int]  # the number of this process, and how many there are
ALONE = (0, 1)


@dataclass(frozen=True)
class ImageSet(Dataset):
    """The images of `entries` below `root`, of one domain, transformed.

    Indexed by (position, epoch), it gives pixels, uint8 (C, S, S), and a label: random transforms draw from a
    stream of their own for each pair. An unreadable image comes back as a UserError rather than raising it,
    to cross process borders unharmed. Where there is a cache, `cached_resized` gives the resized pixels of a
    path, or `cached_decoded` the pixels as they are in the file.
    """

    root: Path
    entries: list[Entry]
    domain: int
    transform: Transform
    seed: int = 0
    cached_resized: Callable[[str], Tensor] | None = None
    cached_decoded: Callable[[str], np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int] | UserError:
        index, epoch = key
        path, label = self.entries[index]
        with seeded(self.seed, self.domain, epoch, index):
            try:
                return self.transform.augment(self.prepare(path)), label
            except UserError as error:
                return error

    def prepare(self, path: str) -> Tensor:
        if self.cached_resized is not None:
            return self.cached_resized(path)
        if self.cached_decoded is not None:
            return self.transform.prepare(self.cached_decoded(path))
        return self.transform.prepare(read_image(self.root / path, MODES[self.domain]))


class ShuffledBatches(Sampler[list[tuple[int, int]]]):
    """Endless batches of (position, epoch): each epoch in a new order, its last partial batch dropped.

    Starts at batch `start`, as if those before had been taken. With `share` (number, of so many processes)
    the batches of all are parts of one large one, no sample in two of them. Raises UserError if not one large
    batch is full.
    """

    def __init__(
        self, length: int, batch_size: int, *, seed: int, start: int = 0, share: Share = ALONE
    ) -> None:
        number, processes = share
        if length < batch_size * processes:
            raise UserError(
                f"--batch_size {batch_size}"
                + (f" in each of {processes} processes" if processes > 1 else "")
                + f" is more than the {length} training images of a domain; make it smaller"
            )
        self.length, self.batch_size, self.seed, self.start = length, batch_size, seed, start
        self.number, self.processes = number, processes

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        per_epoch = self.length // (self.batch_size * self.processes)
        epoch, first = divmod(self.start, per_epoch)
        while True:
            generator = torch.Generator().manual_seed(stream_seed(self.seed, epoch))
            order = torch.randperm(self.length, generator=generator).tolist()
            for batch in range(first, per_epoch):
                place = (batch * self.processes + self.number) * self.batch_size
                chosen = order[place : place + self.batch_size]
                yield [(index, epoch) for index in chosen]
            epoch, first = epoch + 1, 0


def entries_of_batch(entries: list[Entry], batch_size: int, seed: int, number: int) -> list[Entry]:
    """Which of `entries` the batch `number` of `ShuffledBatches` holds."""
    sampler = ShuffledBatches(len(entries), batch_size, seed=seed, start=number)
    return [entries[index] for index, _ in next(iter(sampler))]


def training_batches(
    images: ImageSet,
    batch_size: int,
    *,
    workers: int,
    start: int = 0,
    device: torch.device = CPU,
    share: Share = ALONE,
) -> Iterator[Batch]:
    """Endless batches of `images` from batch number `start` on: float32 (B, 3, S, S) on `device`, and labels.

    Raises UserError at an unreadable image.
    """
    seed = stream_seed(images.seed, images.domain)
    sampler = ShuffledBatches(len(images), batch_size, seed=seed, start=start, share=share)
    return delivered(loader(images, sampler, workers, device), images.transform, device)


def ordered_batches(
    images: ImageSet, batch_size: int, *, workers: int, device: torch.device = CPU, share: Share = ALONE
) -> Iterator[Batch]:
    """All of `images` once, in order, as `training_batches` has them. Raises UserError as it does.

    With `share` (number, of so many processes) every so many-th batch, from the one of that number on.
    """
    batches = pixel_batches(images, batch_size, workers=workers, device=device, share=share)
    return delivered(batches, images.transform, device)


def pixel_batches(
    images: ImageSet, batch_size: int, *, workers: int, device: torch.device = CPU, share: Share = ALONE
) -> Iterator[Batch]:
    """As `ordered_batches`, but uint8 (B, C, S, S), still in the memory of the CPU."""
    keys = [(index, 0) for index in range(len(images))]
    batches = [keys[first : first + batch_size] for first in range(0, len(keys), batch_size)]
    number, processes = share
    return raising(loader(images, batches[number::processes], workers, device))


def loader(images: ImageSet, batches: Sampler | list, workers: int, device: torch.device) -> DataLoader:
    return DataLoader(
        images,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=device.type == "cuda",
        worker_init_fn=prepare,
        # a loader draws once for its workers; from the global generator, that would shift a continued run
        generator=torch.Generator(),
    )


def raising(batches: Iterable[Batch | UserError]) -> Iterator[Batch]:
    with naming_dead_workers():
        for batch in begun(batches):
            if isinstance(batch, UserError):
                # not this one: its traceback would lead to the frame that has it, and neither would ever go
                raise type(batch)(*batch.args)
            yield batch


def delivered(
    batches: Iterable[Batch | UserError], transform: Transform, device: torch.device
) -> Iterator[Batch]:
    """Batches as the network takes them: the one place where pixels become float32, on `device`."""
    for pixels, labels in raising(batches):
        yield transform.network_input(pixels.to(device, non_blocking=True)), labels
