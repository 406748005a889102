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
from run.training_data import describe_training, warn_about_foreign_photos
from utils.device import pick_device
from utils.environment import check_environment
from utils.errors import UserError
from utils.names import check_utf8_names

UNITS = {"euclidean": "squared Euclidean distance", "angular": "angle in degrees"}


@dataclass(frozen=True)
class Hit:
    """A photo: `rank` from 1, `distance` in the unit of `Searcher.unit`, `category` None if unknown."""

    rank: int
    distance: float
    file: Path
    category: str | None


class Searcher:
    """A trained network and a gallery, to be searched again and again, also from several threads."""

    def __init__(self, checkpoint: Checkpoint, gallery: Gallery, device: torch.device) -> None:
        self.checkpoint, self.gallery, self.device = checkpoint, gallery, device
        self.config = checkpoint.config
        self.indices: dict[str, Index] = {}
        self.lock = Lock()  # of `indices`

    def search(
        self, query: Path | str | Image.Image | Drawing, top: int | None = None, *, index: str | None = None
    ) -> list[Hit]:
        """The photos nearest to a drawing, nearest first.

        `query`: a file, or a picture of any mode; unless --clean_query=off it is cleaned up first, see
        `datasets.drawings`. `top`: how many photos, --top by default. `index`: one of retrieval.INDICES,
        --index by default. Raises UserError if the query cannot be read or is empty.
        """
        name = index or self.config.search.index
        if top is None:
            top = self.config.search.top
        if top < 1:
            raise UserError(f"top={top} photos cannot be shown: 1 or more")
        features = self.embed_drawing(self.read_query(query))
        positions, distances = self.get_index(name).search(features, top)
        return [
            Hit(
                rank,
                self.convert_distance(distance, name),
                self.gallery.root / self.gallery.names[position],
                self.gallery.categories[position],
            )
            for rank, (position, distance) in enumerate(zip(positions, distances, strict=True), start=1)
        ]

    def read_query(self, query: Path | str | Image.Image | Drawing) -> Drawing:
        """The query as a sketch, with notes on how it was cleaned. Raises UserError as `search` does."""
        clean = self.config.search.clean_query == "on"
        if isinstance(query, Drawing):
            return query
        if isinstance(query, Image.Image):
            return clean_drawing(query) if clean else convert_to_grey(query)
        return read_drawing(Path(query), clean=clean)

    def embed_drawing(self, drawing: Drawing) -> np.ndarray:
        """Features (f_dim, M) float32: of the drawing and, unless --mirror=off, of its flip."""
        transform = sketch_transform(self.config)
        images = transform.network_input(transform.prepare(drawing.image).to(self.device))[None]
        batch = [(images, torch.zeros(1, dtype=torch.int64))]
        (pair,) = embed(self.checkpoint.network, batch, domain=SKETCH, device=self.device)  # (2, 1, f_dim)
        return np.ascontiguousarray(pair[:, 0].cpu().numpy().T[:, : self.gallery.values.shape[2]])

    def get_index(self, name: str) -> Index:
        """The index `name` over the gallery, opened at the first call."""
        if name not in INDICES:
            raise UserError(f"no index {name}; there are {', '.join(INDICES)}")
        with self.lock:
            if name not in self.indices:
                self.indices[name] = open_index(name, self.gallery, self.checkpoint, self.config, self.device)
            return self.indices[name]

    def describe_network(self) -> str:
        """Which network this is, and what it was trained on."""
        ready = self.checkpoint.path == ready_network.FILE
        name = "the network that comes with the program" if ready else self.config.save_path
        return f"{name}, step {self.checkpoint.step}: {describe_training(self.checkpoint)}"

    @cached_property
    def warning(self) -> str | None:
        """A warning if the photos of the gallery are unlike those of the training, else None."""
        return warn_about_foreign_photos(self.checkpoint, self.gallery.values, self.config)

    def unit(self, index: str | None = None) -> str:
        """The unit of the distances of hits."""
        if (index or self.config.search.index) == "binary":
            return f"bits that differ, of {max(self.config.test.hash_bits)}"
        return UNITS[self.config.test.test_distance]

    def convert_distance(self, distance: float, index: str) -> float:
        """A distance of the index in the unit of `unit`: angular search gives 2 - 2 cos of the angle."""
        if index == "binary" or self.config.test.test_distance == "euclidean":
            return float(distance)
        return math.degrees(math.acos(max(-1.0, 1 - float(distance) / 2)))


def open_searcher(run: str | None = None, gallery: str | Path = "dataset", **options: Any) -> Searcher:
    """The newest checkpoint of the run logs/`run`, ready to search in `gallery`.

    Without a `run`, the network that comes with the program, for a folder of photos.

    `gallery` is "dataset" or a folder of images. Its features are computed once, with a progress bar, and
    cached below logs/`run`/index. `options` are those of the command line by their names: index="hnsw",
    device="cpu", test_distance="angular", mirror=False, hash_bits=[64]. Raises UserError, which says what to
    do, if anything does not fit.
    """
    parsed = parse_values({"phase": "serve", "save_path": run, "gallery": gallery, **options})
    check_environment()
    check_utf8_names(vars(parsed))
    check_options(parsed)
    return build_searcher(config_from_options(parsed))


def build_searcher(config: Config) -> Searcher:
    """The searcher of a config, with its index opened."""
    checkpoint = load_checkpoint(config)
    config = checkpoint.config
    check_index(config.search.index, checkpoint, config)
    device = pick_device(config.machine)
    checkpoint.network.to(device)
    searcher = Searcher(checkpoint, open_gallery(checkpoint, device), device)
    searcher.get_index(config.search.index)
    return searcher
