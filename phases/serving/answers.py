"""What the page of --phase=serve answers: from a picture that came in to photos and a line about them.

A picture is looked at by its header before anything decodes it. What goes out are small copies of photos of
the gallery, written here; the photos themselves, their paths and all other files stay where they are.
"""

import hashlib
import logging
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
from datasets.images import FORMATS_IN_WORDS, UnreadableImage, pixel_count, read_image
from phases.gallery import DATASET
from phases.searcher import Hit, Searcher
from phases.serving.guard import inside
from phases.trained import Trained
from retrieval.search import cores
from utils.errors import UserError
from utils.page import Html, element

log = logging.getLogger(__name__)

FEATURES, CODES = "features", "hash codes"  # what photos are compared by
MOST = 50  # photos for one drawing
EXAMPLES = 8
SIDE = 256  # pixels of the longer side of what is shown of a photo
EMPTY = "there is nothing on the paper yet: draw something, or upload a picture"


@dataclass(frozen=True)
class Answer:
    """`photos`: small copies with captions, nearest first. `line`: about them, or what is amiss.

    `drawing` is what was searched with, None if nothing was.
    """

    photos: list[tuple[str, str]]
    line: Html
    drawing: Drawing | None = None


@dataclass(frozen=True)
class Example:
    """A sketch to try, of `category`."""

    path: Path
    category: str


class Answers:
    """Answers to pictures, also of several threads at once; the small copies go to `folder`.

    `indices` are by what photos can be compared: by features, and by hash codes if there are any.
    """

    def __init__(self, searcher: Searcher, folder: Path) -> None:
        self.searcher, self.folder = searcher, folder
        given = searcher.options.index
        self.indices = {FEATURES: "flat" if given == "binary" else given}
        try:
            searcher.index("binary")
            self.indices[CODES] = "binary"
        except UserError as error:
            log.warning("warning: the page has no hash codes: %s", error)

    def to_upload(self, name: object, by: object, top: object) -> Answer:
        """The `top` photos nearest to a picture that was uploaded into the folder as the file `name`."""
        if not isinstance(name, str) or not inside(name, self.folder):
            return Answer([], NOTHING)
        return self.to(lambda: self.uploaded(Path(name)), by, top)

    def to_sketch(self, path: Path, by: object, top: object) -> Answer:
        """The same for a sketch of the data set."""
        return self.to(lambda: self.searcher.drawing(path), by, top)

    def to(self, source: Callable[[], Drawing], by: object, top: object) -> Answer:
        """Never raises UserError, nor OSError. What is asked for comes from outside, and may be anything."""
        start = perf_counter()
        index = self.indices.get(str(by), self.indices[FEATURES])
        count = min(max(1, top), MOST) if isinstance(top, int) else self.searcher.options.top
        try:
            drawing = source()
            low, high = drawing.image.getextrema()
            if low == high:
                raise UserError(EMPTY)
            hits = self.searcher.search(drawing, count, index=index)
        except UserError as error:
            return Answer([], NOTHING if str(error) == EMPTY else said(error, role="alert", class_="problem"))
        try:
            with ThreadPoolExecutor(cores()) as pool:
                photos = list(pool.map(self.small, hits))
        except OSError as error:  # of a full disk, say
            log.error("error: %s", error)
            problem = f"the photos cannot be shown: {error.strerror} on the machine that serves them"
            return Answer([], said(problem, role="alert", class_="problem"))
        found = [(str(photo), self.caption(hit)) for photo, hit in zip(photos, hits, strict=True)]
        return Answer(found, self.about(found, index, drawing, perf_counter() - start), drawing)

    def uploaded(self, path: Path) -> Drawing:
        """The drawing in a file from outside. Raises UserError that does not name the file."""
        try:
            check_size(path, self.searcher.options.upload_megapixels)
            return self.searcher.drawing(path)
        except UnreadableImage as error:
            if isinstance(error.__cause__, UnidentifiedImageError):
                raise UserError(
                    f"this is no picture that can be read here: {error.reason}; give {FORMATS_IN_WORDS}"
                ) from error
            raise UserError(f"this picture cannot be read: {error.reason}") from error
        except UserError as error:
            text = str(error).replace(f"{path}: ", "").replace(str(path), "the picture")
            raise UserError(EMPTY if "empty" in text else text) from error

    def small(self, hit: Hit) -> Path:
        """A copy of a photo for the page, kept for the next time; its name tells nothing."""
        name = hashlib.sha256(str(hit.file).encode()).hexdigest()[:16]
        path = self.folder / f"{name}.jpg"
        with suppress(FileNotFoundError):
            os.utime(path)  # the folder is emptied of what was not used for longest
            return path
        try:
            photo = read_image(hit.file, "RGB", near=2 * SIDE, remedy="the gallery has changed")
        except UserError as error:
            log.warning("warning: %s", error)
            photo = Image.new("RGB", (SIDE, SIDE), "lightgrey")
        photo.thumbnail((SIDE, SIDE))
        temporary = path.with_suffix(f".{get_ident()}")  # another search may be writing the same
        photo.save(temporary, "JPEG", quality=85)
        temporary.replace(path)
        return path

    def caption(self, hit: Hit) -> str:
        name = hit.category or hit.file.relative_to(self.searcher.gallery.root).as_posix()
        distance = f"{hit.distance:.0f}" if hit.distance >= 100 else f"{hit.distance:.3g}"
        return f"{hit.rank}. {name} · {distance}"

    def about(self, found: list, index: str, drawing: Drawing, seconds: float) -> Html:
        """How many photos, how far and how fast they were found, and what was done to the drawing."""
        photos = len(self.searcher.gallery.names)
        text = f"The nearest {len(found)} of {photos:,} photos, in {seconds:.2f} s. The number is the "
        text += f"distance: {self.searcher.unit(index)}."
        if drawing.notes:
            text += f" The drawing was changed first: {'; '.join(drawing.notes)}."
        return element("p", text, role="status")


def said(message: object, **attributes: str) -> Html:
    """A message as a sentence."""
    text = str(message)
    return element("p", f"{text[:1].upper()}{text[1:].rstrip('.')}.", **attributes)


NOTHING = said(EMPTY, role="status")


def check_size(path: Path, megapixels: int) -> None:
    """Raise UserError if a file has more million pixels by its header, UnreadableImage if that is damaged."""
    try:
        count = pixel_count(path) / 1e6
    except UnreadableImage as error:
        if isinstance(error.__cause__, Image.DecompressionBombError):
            raise UserError(f"this picture has more than the {megapixels} megapixels allowed") from None
        raise
    if count > megapixels:
        raise UserError(f"this picture has {count:.1f} megapixels, more than the {megapixels} allowed")


def examples_of(searcher: Searcher) -> list[Example]:
    """A test sketch of each of some categories, drawn by --seed, if the data set is what is searched."""
    if not isinstance(searcher.weights, Trained) or searcher.options.gallery != DATASET:
        return []
    data, rng = searcher.weights.data, np.random.default_rng(searcher.options.seed)
    sketches: dict[int, list[str]] = {}
    for name, label in data.test_sketches:
        sketches.setdefault(label, []).append(name)
    labels = sorted(rng.permutation(sorted(sketches))[:EXAMPLES].tolist())
    return [
        Example(data.root / sketches[label][rng.integers(len(sketches[label]))], data.categories[label])
        for label in labels
    ]
