"""What the page of --phase=serve answers: from a picture that came in to photos and a line about them.

A picture is looked at by its header before anything decodes it. What goes out are small copies of photos of
the gallery, written here; the photos themselves and all other files stay where they are.
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
from phases.search.searcher import Hit, Searcher
from phases.serve.guard import inside
from retrieval.search import cores
from run.checkpoint import TestableCheckpoint
from run.config import DATASET
from utils.errors import UserError, one_line
from utils.html import Html, element

log = logging.getLogger(__name__)

FEATURES, CODES = "features", "hash codes"  # what photos are compared by
MOST = 50  # photos for one drawing
EXAMPLES = 8
SMALL, LARGE = 256, 1024  # pixels of the longer side of a photo in the results, and on its own
NO_DRAWING = "there is nothing on the canvas yet: draw something, or upload a picture"
EMPTY_UPLOAD = "this picture is empty: it has no strokes to search with. Upload another"


@dataclass(frozen=True)
class Photo:
    """A result as it is shown: `copy` is a small JPEG in the page's folder, whose stem is the photo's key."""

    copy: Path
    rank: int
    name: str
    distance: str


@dataclass(frozen=True)
class Answer:
    """`photos`: nearest first. `line`: about them, or what went wrong.

    `drawing` is what was searched with, None if nothing was.
    """

    photos: list[Photo]
    line: Html
    drawing: Drawing | None = None


@dataclass(frozen=True)
class Example:
    """A sketch to try, of `category`."""

    path: Path
    category: str


class Answers:
    """Answers to pictures, also of several threads at once; copies of photos go to `folder`.

    `indices` are by what photos can be compared: by features, and by hash codes if there are any. `local`:
    whether only this machine is served; others are not told where the gallery lies.
    """

    def __init__(self, searcher: Searcher, folder: Path, *, local: bool) -> None:
        self.searcher, self.folder, self.local = searcher, folder, local
        self.shown: dict[str, Hit] = {}  # by key: what was ever shown, at most the gallery
        given = searcher.config.search.index
        self.indices = {FEATURES: "flat" if given == "binary" else given}
        try:
            searcher.get_index("binary")
            self.indices[CODES] = "binary"
        except UserError as error:
            log.warning("warning: the page has no hash codes: %s", error)

    def search_canvas(self, name: object, by: object, top: object) -> Answer:
        """The `top` photos nearest to what was drawn, which came into the folder as the file `name`."""
        if not isinstance(name, str) or not inside(name, self.folder):
            return Answer([], message(NO_DRAWING))
        answer = self.search(lambda: self.read_upload(Path(name)), by, top)
        return Answer([], message(NO_DRAWING)) if answer.line == problem(EMPTY_UPLOAD) else answer

    def search_upload(self, name: object, by: object, top: object) -> Answer:
        """The same for a picture that was uploaded."""
        if not isinstance(name, str) or not inside(name, self.folder):
            return Answer([], problem("no picture has arrived: upload it again"))
        return self.search(lambda: self.read_upload(Path(name)), by, top)

    def search_sketch(self, path: Path, by: object, top: object) -> Answer:
        """The same for a sketch of the data set."""
        return self.search(lambda: self.searcher.read_query(path), by, top)

    def search(self, source: Callable[[], Drawing], by: object, top: object) -> Answer:
        """Never raises UserError, nor OSError. `by` and `top` come from outside, and may be anything."""
        start = perf_counter()
        index = self.indices.get(str(by), self.indices[FEATURES])
        count = min(max(1, top), MOST) if isinstance(top, int) else self.searcher.config.search.top
        try:
            drawing = source()
            low, high = drawing.image.getextrema()
            if low == high:
                raise UserError(EMPTY_UPLOAD)
            hits = self.searcher.search(drawing, count, index=index)
        except UserError as error:
            return Answer([], problem(error))
        try:
            with ThreadPoolExecutor(cores()) as pool:
                copies = list(pool.map(self.copy_of, hits))
        except OSError as error:  # of a full disk, say
            log.error("error: %s", error)
            return Answer(
                [],
                problem(f"the photos cannot be shown: {error.strerror} on the machine that serves them"),
            )
        distances = self.distances_in_words(hits, index)
        photos = [
            Photo(path, hit.rank, self.name_of(hit), distance)
            for path, hit, distance in zip(copies, hits, distances, strict=True)
        ]
        return Answer(photos, self.about(photos, index, drawing, perf_counter() - start), drawing)

    def enlarge(self, key: object) -> tuple[Photo, str] | None:
        """The photo with that key at LARGE pixels, and its path; None if it was never shown.

        The path is whole on the machine that serves, else from the gallery's folder on.
        """
        hit = self.shown.get(str(key))
        if hit is None:
            return None
        path = hit.file if self.local else hit.file.relative_to(self.searcher.gallery.root)
        photo = Photo(self.copy_of(hit, LARGE), hit.rank, self.name_of(hit), "")
        return photo, one_line(str(path.absolute() if self.local else path))

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
            text = str(error).replace(f"{path}: ", "").replace(str(path), "the picture")
            raise UserError(EMPTY_UPLOAD if "no strokes" in text else text) from error

    def copy_of(self, hit: Hit, side: int = SMALL) -> Path:
        """A JPEG of a photo, no side above `side`, reused the next time; its name tells nothing."""
        key = hashlib.sha256(str(hit.file).encode(errors="surrogateescape")).hexdigest()[:16]
        self.shown[key] = hit
        path = self.folder / (f"{key}.jpg" if side == SMALL else f"{key}-{side}.jpg")
        with suppress(FileNotFoundError):
            os.utime(path)  # the folder is emptied of what was not used for longest
            return path
        try:
            photo = read_image(hit.file, "RGB", near=2 * side, remedy="the gallery has changed")
        except UserError as error:
            log.warning("warning: %s", error)
            photo = Image.new("RGB", (side, side), "lightgrey")
        photo.thumbnail((side, side))
        temporary = path.with_suffix(f".{get_ident()}")  # another search may be writing the same
        photo.save(temporary, "JPEG", quality=85)
        temporary.replace(path)
        return path

    def name_of(self, hit: Hit) -> str:
        if hit.category:
            return category_in_words(hit.category)
        return one_line(hit.file.relative_to(self.searcher.gallery.root).as_posix())

    def distances_in_words(self, hits: list[Hit], index: str) -> list[str]:
        """All with the same number of decimals, so that they can be compared at a glance."""
        unit = "angle" if self.searcher.config.test.test_distance == "angular" else "distance"
        if index == "binary":
            return [f"{hit.distance:.0f} bit{'s' if hit.distance != 1 else ''} differ" for hit in hits]
        largest = max((hit.distance for hit in hits), default=1.0)
        decimals = 1 if unit == "angle" else max(0, 2 - math.floor(math.log10(max(largest, 1e-6))))
        return [f"{unit} {hit.distance:.{decimals}f}{'°' if unit == 'angle' else ''}" for hit in hits]

    def about(self, photos: list[Photo], index: str, drawing: Drawing, seconds: float) -> Html:
        """How many photos, how they were compared and how fast, and what was done to the drawing."""
        count = len(self.searcher.gallery.names)
        text = f"The nearest {len(photos)} of {count:,} photos, in {seconds:.2f} s. "
        text += f"The smaller the distance ({self.searcher.unit(index)}), the more alike."
        if drawing.notes:
            text += f" The drawing was changed first: {'; '.join(drawing.notes)}."
        return element("p", text, role="status")


def category_in_words(name: str) -> str:
    """A category as it is shown: folders have underscores for blanks."""
    return one_line(name.replace("_", " ").strip() or name)


def message(text: object, **attributes: str) -> Html:
    """`text` as a sentence; a neutral one, unless `attributes` say otherwise."""
    sentence = str(text)
    attributes = attributes or {"role": "status"}
    return element("p", f"{sentence[:1].upper()}{sentence[1:].rstrip('.')}.", **attributes)


def problem(text: object) -> Html:
    """What went wrong, as a sentence that stands out."""
    return message(text, role="alert", class_="problem")


def check_size(path: Path, megapixels: int) -> None:
    """Raise UserError if a file has more million pixels by its header, UnreadableImage if that is damaged."""
    try:
        count = count_pixels(path) / 1e6
    except UnreadableImage as error:
        if isinstance(error.__cause__, Image.DecompressionBombError):
            raise UserError(f"this picture has more than the {megapixels} megapixels allowed") from None
        raise
    if count > megapixels:
        raise UserError(f"this picture has {count:.1f} megapixels, more than the {megapixels} allowed")


def examples_of(searcher: Searcher) -> list[Example]:
    """A test sketch of each of some categories, drawn by --seed, if the data set is what is searched."""
    if not isinstance(searcher.checkpoint, TestableCheckpoint) or searcher.config.search.gallery != DATASET:
        return []
    data, rng = searcher.checkpoint.data, np.random.default_rng(searcher.config.seed)
    sketches: dict[int, list[str]] = {}
    for name, label in data.test_sketches:
        sketches.setdefault(label, []).append(name)
    labels = sorted(rng.permutation(sorted(sketches))[:EXAMPLES].tolist())
    return [
        Example(
            data.root / sketches[label][rng.integers(len(sketches[label]))],
            category_in_words(data.categories[label]),
        )
        for label in labels
    ]
