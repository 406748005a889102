"""Answers of the page of --phase=serve: from a picture that came in to photos and a message about them.

A picture is checked by its header before anything decodes it. What goes out are small copies of photos of the
gallery, written to the page's folder; the photos themselves and all other files stay where they are.
"""

import hashlib
import logging
import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import get_ident
from time import perf_counter

import numpy as np
from PIL import Image, UnidentifiedImageError

from datasets.drawings import Drawing
from datasets.images import FORMATS_IN_WORDS, UnreadableImage, count_pixels, read_image
from datasets.paper import NO_STROKES
from phases.search.searcher import Hit, Searcher
from phases.serve.folder import is_inside
from retrieval.search import count_cores
from run.checkpoint import TestableCheckpoint
from utils.errors import UserError, one_line
from utils.html import Html, make_tag

log = logging.getLogger(__name__)

FEATURES, CODES = "features", "hash codes"  # what photos are compared by
MAX_PHOTOS = 50  # for one drawing
EXAMPLES = 8
SMALL, LARGE = 256, 1024  # pixels: longer side of a photo in the results, and of an enlarged one
NO_DRAWING = "there is nothing on the canvas yet: draw something, or upload a picture"


@dataclass(frozen=True)
class Photo:
    """A result on the page. `copy`: a small JPEG in the page's folder, whose stem is the photo's key."""

    copy: Path
    rank: int
    title: str
    distance: str


@dataclass(frozen=True)
class Answer:
    """`photos`: nearest first. `message`: about them, or what went wrong.

    `drawing`: the query; None if it could not be read.
    """

    photos: list[Photo]
    message: Html
    drawing: Drawing | None = None


@dataclass(frozen=True)
class Example:
    """A sketch of `category` to try."""

    path: Path
    category: str


class EmptyPicture(UserError):
    """A picture without strokes."""

    def __init__(self) -> None:
        super().__init__("this picture is empty: it has no strokes to search with. Upload another")


class Answers:
    """Answers to pictures, also from several threads at once. Copies of photos go to `folder`.

    `indices`: what photos can be compared by, features and, if there are any, hash codes. `local`: whether
    only this machine is served; others do not learn where the gallery is.
    """

    def __init__(self, searcher: Searcher, folder: Path, *, local: bool) -> None:
        self.searcher, self.folder, self.local = searcher, folder, local
        self.hits: dict[str, Hit] = {}  # by key, of all photos that were ever sent: at most the gallery
        index = searcher.config.search.index
        self.indices = {FEATURES: "flat" if index == "binary" else index}
        try:
            searcher.get_index("binary")
            self.indices[CODES] = "binary"
        except UserError as error:
            log.warning("warning: the page has no hash codes: %s", error)

    def search_canvas(self, name: object, by: object, top: object) -> Answer:
        """The `top` photos nearest to what was drawn, which arrived in the folder as the file `name`."""
        empty = sentence(NO_DRAWING)
        if not isinstance(name, str) or not is_inside(name, self.folder):
            return Answer([], empty)
        return self.search(lambda: self.read_upload(Path(name)), by, top, empty)

    def search_upload(self, name: object, by: object, top: object) -> Answer:
        """The same for a picture that was uploaded."""
        if not isinstance(name, str) or not is_inside(name, self.folder):
            return Answer([], problem("no picture has arrived: upload it again"))
        return self.search(lambda: self.read_upload(Path(name)), by, top)

    def search_sketch(self, path: Path, by: object, top: object) -> Answer:
        """The same for a sketch of the data set."""
        return self.search(lambda: self.searcher.read_query(path), by, top)

    def search(
        self, read: Callable[[], Drawing], by: object, top: object, empty: Html | None = None
    ) -> Answer:
        """Search with what `read` returns; `by` and `top` come from outside and may be anything.

        `empty` answers a picture without strokes. Raises neither UserError nor OSError.
        """
        start = perf_counter()
        index = self.indices.get(str(by), self.indices[FEATURES])
        count = min(max(1, top), MAX_PHOTOS) if isinstance(top, int) else self.searcher.config.search.top
        try:
            drawing = read()
            darkest, lightest = drawing.image.getextrema()
            if darkest == lightest:
                raise EmptyPicture
            hits = self.searcher.search(drawing, count, index=index)
        except EmptyPicture as error:
            return Answer([], empty or problem(error))
        except UserError as error:
            return Answer([], problem(error))
        try:
            with ThreadPoolExecutor(count_cores()) as pool:
                copies = list(pool.map(self.write_copy, hits))
        except OSError as error:  # a full disk, for example
            log.error("error: %s", error)
            reason = f"the photos cannot be shown: {error.strerror} on the machine that serves them"
            return Answer([], problem(reason))
        distances = self.format_distances(hits, index)
        photos = [
            Photo(path, hit.rank, self.title_of(hit), distance)
            for path, hit, distance in zip(copies, hits, distances, strict=True)
        ]
        message = self.describe_results(len(photos), index, drawing, perf_counter() - start)
        return Answer(photos, message, drawing)

    def enlarge(self, key: object) -> tuple[Photo, str] | None:
        """The photo with that key at LARGE pixels, and its path; None if it was never sent.

        The path is absolute if only this machine is served, else relative to the gallery's folder.
        """
        hit = self.hits.get(str(key))
        if hit is None:
            return None
        path = hit.file.absolute() if self.local else hit.file.relative_to(self.searcher.gallery.root)
        return Photo(self.write_copy(hit, LARGE), hit.rank, self.title_of(hit), ""), one_line(str(path))

    def read_upload(self, path: Path) -> Drawing:
        """The drawing in a file from outside. Raises UserError that does not name the file."""
        try:
            check_size(path, self.searcher.config.serve.upload_megapixels)
            return self.searcher.read_query(path)
        except UnreadableImage as error:
            if isinstance(error.__cause__, UnidentifiedImageError):
                raise UserError(
                    f"this is no picture that can be read here: {error.reason}; give {FORMATS_IN_WORDS}"
                ) from error
            raise UserError(f"this picture cannot be read: {error.reason}") from error
        except UserError as error:
            if NO_STROKES in str(error):
                raise EmptyPicture from error
            text = str(error).replace(f"{path}: ", "").replace(str(path), "the picture")
            raise UserError(text) from error

    def write_copy(self, hit: Hit, side: int = SMALL) -> Path:
        """A JPEG of a photo, no side above `side`, used again next time; its name reveals nothing."""
        key = hashlib.sha256(str(hit.file).encode(errors="surrogateescape")).hexdigest()[:16]
        self.hits[key] = hit
        path = self.folder / (f"{key}.jpg" if side == SMALL else f"{key}-{side}.jpg")
        with suppress(FileNotFoundError):
            os.utime(path)  # the least recently used files are removed first
            return path
        try:
            photo = read_image(hit.file, "RGB", near=2 * side, remedy="the gallery has changed")
        except UserError as error:
            log.warning("warning: %s", error)
            photo = Image.new("RGB", (side, side), "lightgrey")
        photo.thumbnail((side, side))
        temporary = path.with_suffix(f".{get_ident()}")  # another search may be writing the same photo
        photo.save(temporary, "JPEG", quality=85)
        temporary.replace(path)
        return path

    def title_of(self, hit: Hit) -> str:
        if hit.category:
            return format_category(hit.category)
        return one_line(hit.file.relative_to(self.searcher.gallery.root).as_posix())

    def format_distances(self, hits: list[Hit], index: str) -> list[str]:
        """All with the same number of decimals, so that they can be compared at a glance."""
        if index == "binary":
            return [f"{hit.distance:.0f} bit{'s' if hit.distance != 1 else ''} differ" for hit in hits]
        if self.searcher.config.test.test_distance == "angular":
            return [f"angle {hit.distance:.1f}°" for hit in hits]
        largest = max((hit.distance for hit in hits), default=1.0)
        decimals = max(0, 2 - math.floor(math.log10(max(largest, 1e-6))))
        return [f"distance {hit.distance:.{decimals}f}" for hit in hits]

    def describe_results(self, photos: int, index: str, drawing: Drawing, seconds: float) -> Html:
        """How many photos there are, how they were compared and how fast, and how the drawing was cleaned."""
        count = len(self.searcher.gallery.names)
        text = f"The nearest {photos} of {count:,} photos, in {seconds:.2f} s. "
        text += f"The smaller the distance ({self.searcher.unit(index)}), the more alike."
        if drawing.notes:
            text += f" The drawing was changed first: {'; '.join(drawing.notes)}."
        return make_tag("p", text, role="status")


def format_category(name: str) -> str:
    """A category as the page shows it: folders have underscores for spaces."""
    return one_line(name.replace("_", " ").strip() or name)


def sentence(text: object, **attributes: str) -> Html:
    """`text` as a paragraph, with a capital and a full stop; neutral unless `attributes` say otherwise."""
    words = str(text)
    attributes = attributes or {"role": "status"}
    return make_tag("p", f"{words[:1].upper()}{words[1:].rstrip('.')}.", **attributes)


def problem(text: object) -> Html:
    """What went wrong, as a paragraph that stands out."""
    return sentence(text, role="alert", class_="problem")


def check_size(path: Path, megapixels: int) -> None:
    """Raise UserError if a file has more megapixels by its header, UnreadableImage if that is damaged."""
    try:
        count = count_pixels(path) / 1e6
    except UnreadableImage as error:
        if isinstance(error.__cause__, Image.DecompressionBombError):
            raise UserError(f"this picture has more than the {megapixels} megapixels allowed") from None
        raise
    if count > megapixels:
        raise UserError(f"this picture has {count:.1f} megapixels, more than the {megapixels} allowed")


def choose_examples(searcher: Searcher) -> list[Example]:
    """One test sketch each of up to EXAMPLES categories, chosen by --seed; none for a folder of photos."""
    if not isinstance(searcher.checkpoint, TestableCheckpoint):
        return []
    data, rng = searcher.checkpoint.data, np.random.default_rng(searcher.config.seed)
    sketches: dict[int, list[str]] = {}
    for name, label in data.test_sketches:
        sketches.setdefault(label, []).append(name)
    examples = []
    for label in sorted(rng.permutation(sorted(sketches))[:EXAMPLES].tolist()):
        name = sketches[label][rng.integers(len(sketches[label]))]
        examples.append(Example(data.root / name, format_category(data.categories[label])))
    return examples
