"""How much cleaning improves a search with photographed, scanned or inverted drawings.

Test sketches of the demo set are degraded in every way of baselines/degraded.py. They are read as they are
and cleaned (datasets/drawings.py), embedded by the demo's network, and ranked against all photos of the demo
set. Run `make demo` first; then `python -m benchmarks.drawings` writes the table and the figure of
docs/drawings.md, in about five minutes on two cores.
"""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from benchmarks.baselines.degraded import DEGRADATIONS
from benchmarks.measure import describe_machine, save_results, time_run
from benchmarks.tables import MARK, format_section
from datasets import PHOTO, SKETCH
from datasets.annotations import Annotation
from datasets.demo import shapes
from datasets.drawings import read_drawing
from datasets.images import read_image
from retrieval.embed import embed
from retrieval.metrics import evaluate
from retrieval.search import feature_rankings
from run import checkpoint
from run.config import make_config
from run.input import photo_transform, sketch_transform
from utils.files import atomic_write, write_text

QUERIES_PER_CATEGORY = 5
SCAN = (7000, 5000)  # pixels: A4 at 600 dpi
BATCH = 60
DOCS = Path(__file__).parents[1] / "docs"
CPU = torch.device("cpu")
EXAMPLES = {
    "white on transparent": "cup",
    "framed in black": "house",
    "small, in a corner of a 4:3 canvas": "fish",
    "photo of pencil on paper": "cat",
    "photo of pen on squared paper": "car",
    "photo of a sheet on a dark table": "chair",
    "photo of chalk on a board": "butterfly",
    "scan of 5.6 megapixels, fine pen": "sailboat",
}
TILE, CAPTION = (200, 150), 18  # pixels

Degradation = Callable[[Image.Image, np.random.Generator, Path], Path]


def measure_cleaning() -> dict[str, Any]:
    model = checkpoint.load(make_config(save_path="demo", device="cpu"))
    root = model.data.root
    sketch_test = sketch_transform(model.config)
    photo_test = photo_transform(model.config)
    photos = [photo_test(read_image(root / name, "RGB")) for name, _ in model.data.gallery]
    gallery = embed_images(model.network, photos, PHOTO)
    photo_labels = np.array([label for _, label in model.data.gallery])
    sketches = select_sketches(model.data)
    labels = np.array([label for _, label in sketches])

    def measure(images: list[Image.Image]) -> list[float]:
        query = embed_images(model.network, [sketch_test(image) for image in images], SKETCH)
        rankings = feature_rankings(
            query, gallery, labels, photo_labels, model.config.test.test_distance, memory=2**28
        )
        metrics = evaluate(rankings, labels).metrics
        return [metrics["MAP"], metrics["P@10"]]

    results: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, degrade in DEGRADATIONS.items():
            paths = write_drawings(degrade, [root / sketch for sketch, _ in sketches], Path(folder))
            results[name] = [
                *measure([read_drawing(path, clean=False).image for path in paths]),
                *measure([read_drawing(path).image for path in paths]),
            ]
            print(f"  {name:<40} {results[name]}", flush=True)
        times = time_scans(root / sketches[0][0], Path(folder))
    return {
        "input": f"{len(sketches)} test sketches, {QUERIES_PER_CATEGORY} per category, against "
        f"{len(gallery)} photos of the demo set; {model.config.network.network} at "
        f"{model.config.input.image_size} px, "
        f"step {model.step}; in percent",
        "MAP as it is, P@10 as it is, MAP cleaned, P@10 cleaned": results,
        f"seconds to read and clean a scan in colour of {SCAN[0]} x {SCAN[1]} pixels": times,
    }


def embed_images(network: torch.nn.Module, images: list[Tensor], domain: int) -> np.ndarray:
    """Features (N, f_dim, 2) float32 of the images and of their flips."""
    starts = range(0, len(images), BATCH)
    batches = ((torch.stack(images[at : at + BATCH]), torch.empty(0)) for at in starts)
    return torch.cat(list(embed(network, batches, domain=domain, device=CPU)), dim=1).permute(1, 2, 0).numpy()


def select_sketches(data: Annotation) -> list[tuple[str, int]]:
    """The first few test sketches of every category, with their labels."""
    by_label: dict[int, list[tuple[str, int]]] = {}
    for name, label in data.test_sketches:
        by_label.setdefault(label, []).append((name, label))
    return [entry for entries in by_label.values() for entry in entries[:QUERIES_PER_CATEGORY]]


def write_drawings(degrade: Degradation, sketches: list[Path], folder: Path) -> list[Path]:
    """Write all `sketches`, degraded, to `folder`, each with a random generator of its own; returns paths."""
    paths = []
    for number, sketch in enumerate(sketches):
        path = folder / f"{degrade.__name__}-{number}.file"
        paths.append(degrade(read_image(sketch, "L"), np.random.default_rng(number), path))
    return paths


def time_scans(sketch: Path, folder: Path) -> dict[str, list[float]]:
    """Seconds to read and clean a large scan of grey paper, from a JPEG and from a PNG file."""
    grey = read_image(sketch, "L").point(lambda value: 70 + 0.65 * value)
    scan = grey.resize(SCAN, Image.Resampling.BICUBIC).convert("RGB")
    times = {}
    for suffix in ("jpg", "png"):
        path = folder / f"scan.{suffix}"
        scan.save(path)
        times[suffix.upper()] = [min(time_run(partial(read_drawing, path)) for _ in range(3))]
    return times


def write_table(results: dict[str, Any]) -> None:
    """Write the table between the marks of docs/drawings.md."""
    page = DOCS / "drawings.md"
    machine = describe_machine()
    text = format_section(machine, {**results, "date": machine["date"]})
    write_text(page, MARK.sub(lambda match: match[1] + text + match[3], page.read_text(encoding="utf-8")))


def draw_figure() -> None:
    """Draw docs/drawings.jpg: degraded drawings, each beside the cleaned one."""
    width, height = TILE
    sheet = Image.new("RGB", (4 * (width + 12), 4 * (height + CAPTION + 6)), "#d8dde6")
    draw = ImageDraw.Draw(sheet)
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, category) in enumerate(EXAMPLES.items()):
            rng = np.random.default_rng(number)
            path = DEGRADATIONS[name](shapes.sketch(category, rng, 512), rng, Path(folder) / "drawing.file")
            before, after = Image.open(path), read_drawing(path).image
            x, y = 2 * (number % 2) * (width + 12) + 6, number // 2 * (height + CAPTION + 6) + 3
            draw.text((x, y + 2), name, fill="black", font=ImageFont.load_default(13))
            for left, image in ((x, before), (x + width + 12, after)):
                image.thumbnail(TILE)
                mask = image.getchannel("A") if image.mode == "RGBA" else None
                sheet.paste(image.convert("RGB"), (left, y + CAPTION), mask)
    with atomic_write(DOCS / "drawings.jpg") as temporary:
        sheet.save(temporary, "JPEG", quality=80)


if __name__ == "__main__":
    results = measure_cleaning()
    save_results("drawings", results)
    write_table(results)
    draw_figure()
