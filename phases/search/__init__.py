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
from phases.search.searcher import Hit, Searcher, build_searcher, open_searcher
from run.config import config_from_options
from run.contact_sheet import Cell, SheetRow, contact_sheet, save_png
from run.next_command import log_next_command
from run.provenance import provenance
from run.training_data import describe_training
from utils.errors import UserError, one_line
from utils.files import remove_stale_temporaries, write_json
from utils.locks import wait_for_folder_lock
from utils.names import expand_home, normalize_unicode

__all__ = ["Hit", "Searcher", "open_searcher", "run"]

log = logging.getLogger(__name__)

SHEET_ROWS, SHEET_COLUMNS = 20, 20  # of the contact sheet, at most; the table and the JSON have all


def run(options: argparse.Namespace) -> int:
    """Search with every drawing of --query and write contact_sheet.png and results.json to --output.

    A drawing that is empty or cannot be read is named, the others are searched with, and 2 is returned.
    Raises UserError if there are no others.
    """
    config = config_from_options(options)
    paths = list_queries(config.search.query)
    searcher = build_searcher(config)
    log.info("%s", searcher.describe_network())
    if searcher.warning:
        log.warning("warning: %s", searcher.warning)
    queries: list[dict] = []
    failed: list[dict] = []
    rows: list[SheetRow] = []
    for path in paths:
        try:
            drawing = searcher.read_query(path)
        except UserError as error:
            if len(paths) == 1:
                raise
            log.error("\nerror: %s", one_line(str(error)))
            failed.append({"query": str(path), "error": str(error)})
            continue
        hits = searcher.search(drawing, config.search.top)
        category = category_of_folder(path, searcher)
        log_hits(path, drawing, hits, searcher)
        queries.append(
            {
                "query": str(path),
                "category": category,
                "notes": list(drawing.notes),
                "hits": [{**asdict(hit), "file": str(hit.file)} for hit in hits],
            }
        )
        if len(rows) < SHEET_ROWS:
            rows.append(sheet_row(path, drawing, category, hits))
    if not queries:
        raise UserError(f"none of the {len(paths)} drawings can be searched with; the reasons are above")
    write_results(queries, failed, rows, searcher)
    if failed:
        return 2
    log_next_command("search", searcher.config)
    return 0


def list_queries(paths: Sequence[Path]) -> list[Path]:
    """The files of --query, those of folders sorted by name. Raises UserError if a path does not exist."""
    files = []
    for path in map(expand_home, paths):
        if path.is_dir():
            files += [path / name for name in list_folder(path)]
        elif path.is_file():
            files.append(path)
        else:
            raise UserError(f"no file or folder {path}; check --query")
    return files


def category_of_folder(path: Path, searcher: Searcher) -> str | None:
    """The category of a drawing: the name of its folder, if a category of the gallery has that name."""
    folder = normalize_unicode(path.resolve().parent.name)
    return folder if folder in searcher.gallery.categories else None


def log_hits(path: Path, drawing: Drawing, hits: list[Hit], searcher: Searcher) -> None:
    """Log the hits of one drawing as a table, with a column of categories if one is known."""
    log.info("\n%s%s", one_line(str(path)), "".join(f"\n  {note}" for note in drawing.notes))
    width, title = 0, ""
    if any(hit.category for hit in hits):
        title = "category"
        width = 2 + max(len(one_line(text or "")) for text in (title, *(hit.category for hit in hits)))
    log.info("%4s  %9s  %-*s%s", "rank", "distance", width, title, "file")
    for hit in hits:
        name = one_line(hit.file.relative_to(searcher.gallery.root).as_posix())
        category = one_line(hit.category or "")
        log.info("%4d  %9.4g  %-*s%s", hit.rank, hit.distance, width, category, name)


def sheet_row(path: Path, drawing: Drawing, category: str | None, hits: list[Hit]) -> SheetRow:
    photos = [Cell(thumbnail(hit.file), hit.file.name, hit.category) for hit in hits[:SHEET_COLUMNS]]
    return SheetRow(Cell(drawing.image, path.name, category), photos)


def thumbnail(path: Path) -> Image.Image:
    """A photo made small: a sheet of many large ones would not fit into memory."""
    image = read_image(path, "RGB")
    image.thumbnail((256, 256))
    return image


def write_results(queries: list[dict], failed: list[dict], rows: list[SheetRow], searcher: Searcher) -> None:
    """Write the contact sheet and results.json, and log where they are."""
    config = searcher.config
    folder = expand_home(config.search.output) if config.search.output else config.folder / "search"
    unit, gallery = searcher.unit(), searcher.gallery
    sheet, results = folder / "contact_sheet.png", folder / "results.json"
    caption = f"{searcher.describe_network()}\n{len(gallery.names)} photos, {unit}"
    if searcher.warning:
        caption += f"\nwarning: {searcher.warning}"
    content = {
        "queries": queries,
        "failed": failed,
        "unit of distance": unit,
        "index": config.search.index,
        "gallery": {"folder": str(gallery.root), "photos": len(gallery.names)},
        "checkpoint": str(searcher.checkpoint.path),
        "step": searcher.checkpoint.step,
        "trained on": describe_training(searcher.checkpoint),
        "warning": searcher.warning,
        **provenance(config),
    }
    with wait_for_folder_lock(folder, ".search.lock"):
        remove_stale_temporaries(folder, sheet.name, results.name)
        save_png(contact_sheet(rows, caption), sheet)
        write_json(results, content)
    log.info("\ndistance: %s; %d photos in %s", unit, len(gallery.names), gallery.root)
    extent = f" (the first {len(rows)} of {len(queries)} drawings)" if len(rows) < len(queries) else ""
    log.info("contact sheet in %s%s, all results in %s", sheet, extent, results)
