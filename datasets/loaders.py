"""Batches of images: endless and shuffled for training, in order for test.

The augmentation of a training sample depends only on the run's seed, the epoch and the sample; the samples of
a batch only on the seed and the batch number. So a run resumed at step t needs no saved loader state, and the
number of workers has no effect.

Workers send uint8, sketches with one channel: 1/12 (photos: 1/4) of the size of the network's input.
`to_network_inputs` converts on the device.
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
from datasets.workers import Batch, collate, explain_dead_workers, set_up_worker, start_iterating
from utils.errors import UserError
from utils.seeding import seeded_rng, stream_seed

MODES = {SKETCH: "L", PHOTO: "RGB"}

CPU = torch.device("cpu")

Shard = tuple[int, int]  # rank, world size
ALONE = (0, 1)


@dataclass(frozen=True)
class ImageSet(Dataset):
    """The images of `entries` below `root`, of one domain, transformed.

    Indexed by (position, epoch), it returns pixels, uint8 (C, S, S), and a label; each pair has its own
    random stream. For an unreadable image it returns the UserError instead of raising it, so that it reaches
    the main process unchanged. With a cache, `cached_resized` returns the resized pixels of a path, or
    `cached_decoded` the decoded ones at full size.
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
        with seeded_rng(self.seed, self.domain, epoch, index):
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
    """Endless batches of (position, epoch): every epoch reshuffled, its last partial batch dropped.

    Starts at batch `start`. With `shard` (rank, world size), the batches of all ranks are disjoint parts of
    one large batch. Raises UserError if there are too few samples for one large batch.
    """

    def __init__(
        self, length: int, batch_size: int, *, seed: int, start: int = 0, shard: Shard = ALONE
    ) -> None:
        number, processes = shard
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


def list_batch_entries(entries: list[Entry], batch_size: int, seed: int, number: int) -> list[Entry]:
    """The `entries` in batch `number` of `ShuffledBatches`."""
    sampler = ShuffledBatches(len(entries), batch_size, seed=seed, start=number)
    return [entries[index] for index, _ in next(iter(sampler))]


def training_batches(
    images: ImageSet,
    batch_size: int,
    *,
    workers: int,
    start: int = 0,
    device: torch.device = CPU,
    shard: Shard = ALONE,
) -> Iterator[Batch]:
    """Endless batches of `images` from batch `start` on: float32 (B, 3, S, S) on `device`, and labels.

    Raises UserError at an unreadable image.
    """
    seed = stream_seed(images.seed, images.domain)
    sampler = ShuffledBatches(len(images), batch_size, seed=seed, start=start, shard=shard)
    return to_network_inputs(build_loader(images, sampler, workers, device), images.transform, device)


def ordered_batches(
    images: ImageSet, batch_size: int, *, workers: int, device: torch.device = CPU, shard: Shard = ALONE
) -> Iterator[Batch]:
    """All of `images` once, in order; batches and errors as in `training_batches`.

    With `shard` (rank, world size), every `world size`-th batch, starting at number `rank`.
    """
    batches = pixel_batches(images, batch_size, workers=workers, device=device, shard=shard)
    return to_network_inputs(batches, images.transform, device)


def pixel_batches(
    images: ImageSet, batch_size: int, *, workers: int, device: torch.device = CPU, shard: Shard = ALONE
) -> Iterator[Batch]:
    """As `ordered_batches`, but uint8 (B, C, S, S) on the CPU."""
    keys = [(index, 0) for index in range(len(images))]
    batches = [keys[first : first + batch_size] for first in range(0, len(keys), batch_size)]
    number, processes = shard
    return raise_errors(build_loader(images, batches[number::processes], workers, device))


def build_loader(images: ImageSet, batches: Sampler | list, workers: int, device: torch.device) -> DataLoader:
    return DataLoader(
        images,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=device.type == "cuda",
        worker_init_fn=set_up_worker,
        # a loader draws a base seed for its workers; from the global generator, that would shift a resumed
        # run
        generator=torch.Generator(),
    )


def raise_errors(batches: Iterable[Batch | UserError]) -> Iterator[Batch]:
    """Pass batches on, and raise the errors that workers returned in their place."""
    with explain_dead_workers():
        for batch in start_iterating(batches):
            if isinstance(batch, UserError):
                # a copy: the traceback of `batch` itself would refer to this frame, which refers to `batch`,
                # and the cycle would keep the workers alive
                copied_error = type(batch)(*batch.args)
                raise copied_error
            yield batch


def to_network_inputs(
    batches: Iterable[Batch | UserError], transform: Transform, device: torch.device
) -> Iterator[Batch]:
    """Convert batches to the network's input: the only place where pixels become float32, on `device`."""
    for pixels, labels in raise_errors(batches):
        yield transform.network_input(pixels.to(device, non_blocking=True)), labels
