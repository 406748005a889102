"""From a drawing to photos: what --phase=search, --phase=serve and `open_searcher` do."""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from PIL import Image

from datasets import SKETCH
from datasets.drawings import Drawing, clean_drawing, convert_to_grey, read_drawing
from models import ready_network
from options.check import check_options
from options.parser import parse_values
from phases.search.gallery import Gallery, load_checkpoint, open_gallery
from phases.search.indices import Index, check_index, open_index
from retrieval import INDICES
from retrieval.embed import embed
from run.checkpoint import Checkpoint
from run.config import Config, config_from_options
from run.input import sketch_transform
from run.training_data import describe_training, warn_of_foreign_photos
from utils.device import pick_device
from utils.environment import check_environment
from utils.errors import UserError
from utils.names import check_names

UNITS = {"euclidean": "squared Euclidean distance", "angular": "angle in degrees"}


@dataclass(frozen=True)
class Hit:
    """A photo that was found: `rank` counts from 1; `distance` in the unit of `Searcher.unit`.

    `category` is None where it is not known.
    """

    rank: int
    distance: float
    file: Path
    category: str | None


class Searcher:
    """A trained network and a gallery, ready for one query after the other, also from several threads."""

    def __init__(self, weights: Checkpoint, gallery: Gallery, config: Config, device: torch.device) -> None:
        self.weights, self.gallery, self.config, self.device = weights, gallery, config, device
        self.indices: dict[str, Index] = {}
        self.opening = Lock()

    def search(
        self, query: Path | str | Image.Image | Drawing, top: int | None = None, *, index: str | None = None
    ) -> list[Hit]:
        """The photos nearest to a drawing: `top` or --top, by `index`, of retrieval.INDICES, or --index.

        `query` is a file, or a picture of any mode; unless --clean_query=off it is made a sketch as the
        network knows them, see `datasets.drawings`. Raises UserError if it cannot be read or is empty.
        """
        name, top = index or self.config.search.index, self.config.search.top if top is None else top
        if top < 1:
            raise UserError(f"top={top} photos cannot be shown: 1 or more")
        positions, distances = self.index(name).nearest(self.features(self.drawing(query)), top)
        return [
            Hit(
                rank,
                self.shown(distance, name),
                self.gallery.root / self.gallery.names[position],
                self.gallery.categories[position],
            )
            for rank, (position, distance) in enumerate(zip(positions, distances, strict=True), start=1)
        ]

    def drawing(self, query: Path | str | Image.Image | Drawing) -> Drawing:
        """The query as a sketch, with notes on what was done to it. Raises UserError as `search` does."""
        clean = self.config.search.clean_query == "on"
        if isinstance(query, Drawing):
            return query
        if isinstance(query, Image.Image):
            return clean_drawing(query) if clean else convert_to_grey(query)
        return read_drawing(Path(query), clean=clean)

    def features(self, drawing: Drawing) -> np.ndarray:
        """(f_dim, M) float32, as is and, unless --mirror=off, mirrored."""
        transform = sketch_transform(self.config)
        images = transform.network_input(transform.prepare(drawing.image).to(self.device))[None]
        batch = [(images, torch.zeros(1, dtype=torch.int64))]
        (pair,) = embed(self.weights.network, batch, domain=SKETCH, device=self.device)  # (2, 1, f_dim)
        return np.ascontiguousarray(pair[:, 0].cpu().numpy().T[:, : self.gallery.values.shape[2]])

    def index(self, name: str) -> Index:
        """The index `name` over the gallery, opened once."""
        if name not in INDICES:
            raise UserError(f"no index {name}; there are {', '.join(INDICES)}")
        with self.opening:
            if name not in self.indices:
                self.indices[name] = open_index(name, self.gallery, self.weights, self.config, self.device)
            return self.indices[name]

    def description(self) -> str:
        """Which network this is, and what it was trained on."""
        ready = self.weights.path == ready_network.FILE
        name = "the network that comes with this program" if ready else self.config.save_path
        return f"{name}, step {self.weights.step}: {describe_training(self.weights)}"

    @cached_property
    def warning(self) -> str | None:
        """What to know of a gallery whose photos are unlike those of the training."""
        return warn_of_foreign_photos(self.weights, self.gallery.values, self.config)

    def unit(self, index: str | None = None) -> str:
        """What the distances of hits are."""
        if (index or self.config.search.index) == "binary":
            return f"bits that differ, of {max(self.config.test.hash_bits)}"
        return UNITS[self.config.test.test_distance]

    def shown(self, distance: float, index: str) -> float:
        """2 - 2 cos, which angular search orders by, as the angle that it stands for."""
        if index == "binary" or self.config.test.test_distance == "euclidean":
            return float(distance)
        return math.degrees(math.acos(max(-1.0, 1 - float(distance) / 2)))


def open_searcher(run: str | None = None, gallery: str | Path = "dataset", **options: Any) -> Searcher:
    """The newest checkpoint of the run logs/`run`, ready to search in `gallery`.

    Without a `run` it is the network that comes with this program, for a folder of photos.

    `gallery` is "dataset" or a folder of images. Its features are computed once, with a progress bar, and
    kept below logs/`run`/index. `options` are those of the command line by their names: index="hnsw",
    device="cpu", test_distance="angular", mirror=False, hash_bits=[64]. Raises UserError, with what to do,
    if anything does not fit.
    """
    chosen = parse_values({"phase": "serve", "save_path": run, "gallery": gallery, **options})
    check_environment()
    check_names(vars(chosen))
    check_options(chosen)
    return searcher_for(config_from_options(chosen))


def searcher_for(config: Config) -> Searcher:
    """What the command line asks for, with its index opened."""
    weights = load_checkpoint(config)
    config = weights.config
    check_index(config.search.index, weights, config)
    device = pick_device(config.machine)
    weights.network.to(device)
    searcher = Searcher(weights, open_gallery(weights, device), config, device)
    searcher.index(config.search.index)
    return searcher
