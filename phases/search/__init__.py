"""--phase=search: the photos nearest to drawings, as a table, a contact sheet and JSON.

From Python:

    from phases.search import open_searcher

    searcher = open_searcher("demo")
    for hit in searcher.search("drawing.png", top=5):
        print(hit.rank, hit.distance, hit.file, hit.category)

That searches the photos of the data set that the run logs/demo was trained on.
"""

import argparse
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from PIL import Image

from datasets.drawings import Drawing
from datasets.images import read_image
from phases.search.gallery import list_folder
from phases.search.searcher import Hit, Searcher, open_searcher, searcher_for
from run.config import config_from_options
from run.contact_sheet import Cell, SheetRow, contact_sheet, save_png
from run.next_command import announce
from run.provenance import provenance
from run.training_data import describe_training
from utils.errors import UserError, one_line
from utils.files import remove_stale_temporaries, write_json
from utils.locks import wait_for_folder_lock
from utils.names import compose_unicode, expand_home

__all__ = ["Hit", "Searcher", "open_searcher", "run"]

log = logging.getLogger(__name__)

SHEET_ROWS, SHEET_COLUMNS = 20, 20  # of the contact sheet, at most; the table and the JSON have all


def run(options: argparse.Namespace) -> int:
    """Search for every drawing of --query and write contact_sheet.png and results.json to --output.

    A drawing that cannot be read or is empty is named, and the others are searched for: 2 is returned then.
    Raises UserError if there is no other.
    """
    config = config_from_options(options)
    queries = drawings_of(config.search.query)
    searcher = searcher_for(config)
    log.info("%s", searcher.description())
    if searcher.warning:
        log.warning("warning: %s", searcher.warning)
    categories = {category for category in searcher.gallery.categories if category is not None}
    found: list[dict] = []
    rows: list[SheetRow] = []
    failed: list[dict] = []
    for path in queries:
        try:
            drawing = searcher.drawing(path)
        except UserError as error:
            if len(queries) == 1:
                raise
            log.error("\nerror: %s", one_line(str(error)))
            failed.append({"query": str(path), "error": str(error)})
            continue
        hits = searcher.search(drawing, config.search.top)
        # a drawing in a folder that is named as a category is taken to be of that category
        folder = compose_unicode(path.resolve().parent.name)
        category = folder if folder in categories else None
        show(path, drawing, hits, searcher)
        found.append(
            {
                "query": str(path),
                "category": category,
                "notes": list(drawing.notes),
                "hits": [{**asdict(hit), "file": str(hit.file)} for hit in hits],
            }
        )
        if len(rows) < SHEET_ROWS:
            rows.append(sheet_row(path, drawing, category, hits))
    if not found:
        raise UserError(f"none of the {len(queries)} drawings can be searched for (said above)")
    write(found, failed, rows, searcher)
    if failed:
        return 2
    announce("search", searcher.config)
    return 0


def drawings_of(given: Sequence[Path]) -> list[Path]:
    """The files of --query, those of folders sorted by name. Raises UserError if one is not there."""
    files = []
    for path in map(expand_home, given):
        if path.is_dir():
            files += [path / name for name in list_folder(path)]
        elif path.is_file():
            files.append(path)
        else:
            raise UserError(f"no file or folder {path}; check --query")
    return files


def show(path: Path, drawing: Drawing, hits: list[Hit], searcher: Searcher) -> None:
    """The hits of one drawing as a table."""
    log.info("\n%s%s", one_line(str(path)), "".join(f"\n  {note}" for note in drawing.notes))
    names = [one_line(hit.file.relative_to(searcher.gallery.root).as_posix()) for hit in hits]
    known = [one_line(hit.category or "") for hit in hits] if any(hit.category for hit in hits) else []
    width = max(map(len, ["category", *known])) + 2 if known else 0
    log.info("%4s  %9s  %-*s%s", "rank", "distance", width, "category" if known else "", "file")
    for hit, category, name in zip(hits, known or [""] * len(hits), names, strict=True):
        log.info("%4d  %9.4g  %-*s%s", hit.rank, hit.distance, width, category, name)


def sheet_row(path: Path, drawing: Drawing, category: str | None, hits: list[Hit]) -> SheetRow:
    photos = [Cell(thumbnail(hit.file), hit.file.name, hit.category) for hit in hits[:SHEET_COLUMNS]]
    return SheetRow(Cell(drawing.image, path.name, category), photos)


def thumbnail(path: Path) -> Image.Image:
    """A photo, small: a sheet of many large ones would not fit into memory."""
    image = read_image(path, "RGB")
    image.thumbnail((256, 256))
    return image


def write(found: list[dict], failed: list[dict], rows: list[SheetRow], searcher: Searcher) -> None:
    config = searcher.config
    folder = expand_home(config.search.output) if config.search.output else config.folder / "search"
    unit, gallery = searcher.unit(), searcher.gallery
    sheet, results = folder / "contact_sheet.png", folder / "results.json"
    caption = f"{searcher.description()}\n{len(gallery.names)} photos, {unit}"
    if searcher.warning:
        caption += f"\nwarning: {searcher.warning}"
    content = {
        "queries": found,
        "failed": failed,
        "unit of distance": unit,
        "index": config.search.index,
        "gallery": {"folder": str(gallery.root), "photos": len(gallery.names)},
        "checkpoint": str(searcher.weights.path),
        "step": searcher.weights.step,
        "trained on": describe_training(searcher.weights),
        "warning": searcher.warning,
        **provenance(config),
    }
    with wait_for_folder_lock(folder, ".search.lock"):
        remove_stale_temporaries(folder, sheet.name, results.name)
        save_png(contact_sheet(rows, caption), sheet)
        write_json(results, content)
    log.info("\ndistance: %s; %d photos in %s", unit, len(gallery.names), gallery.root)
    more = f" (the first {len(rows)} of {len(found)} drawings)" if len(rows) < len(found) else ""
    log.info("pictures in %s%s, all in %s", sheet, more, results)
