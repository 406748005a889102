"""MAP of the network that comes with the program, on Sketchy's photos, for models/ready/README.md.

python -m benchmarks.ready --data_path=FOLDER --anno_path=FOLDER

The training left out every fifth photo of a category, in the order of their names, so that one network can be
tested with two galleries:

(a) all photos, the field's protocol; four fifths of them were trained on.
(b) the unseen photos alone.

Both are searched with the test sketches, and with these degraded to look like other people's drawings. Prints
a table, with the values of a random order.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
from scipy.ndimage import map_coordinates, zoom

from benchmarks.baselines.degraded import DEGRADATIONS, Rng, save_image
from benchmarks.drawings import CPU, write_drawings
from datasets import PHOTO, SKETCH, transforms
from datasets.annotations import load_annotation
from datasets.drawings import read_drawing
from datasets.images import read_image
from models import build_network, input_normalisation, ready_network
from retrieval.embed import embed
from retrieval.metrics import evaluate
from retrieval.search import feature_rankings

LEFT_OUT_EVERY = 5
BATCH = 50


def thick_pen(sketch: Image.Image, rng: Rng, path: Path) -> Path:
    """A felt-tip: lines about 3 % of the sheet wide, with hard edges."""
    width = 2 * round(0.01 * max(sketch.size)) + 1
    return save_image(sketch.convert("L").filter(ImageFilter.MinFilter(width)), path.with_suffix(".png"))


def mouse_on_a_canvas(sketch: Image.Image, rng: Rng, path: Path) -> Path:
    """A shaky hand on a canvas of 400 x 400 pixels: strokes tremble, and lines are about 2 % wide."""
    ink = 255 - np.asarray(sketch.convert("L").resize((400, 400), Image.Resampling.BICUBIC), dtype=np.float32)
    shifts = [zoom(rng.normal(scale=5, size=(20, 20)), 20) for _ in range(2)]  # pixels
    coordinates = np.mgrid[0:400, 0:400] + np.stack(shifts)
    shaken = Image.fromarray((255 - map_coordinates(ink, coordinates, order=1)).astype(np.uint8))
    return save_image(shaken.filter(ImageFilter.MinFilter(5)), path.with_suffix(".png"))


STYLES = {
    "sketches as they are": None,
    "thick pen": thick_pen,
    "mouse on a canvas": mouse_on_a_canvas,
    "photo of pencil on paper": DEGRADATIONS["photo of pencil on paper"],
    "photo of pen on squared paper": DEGRADATIONS["photo of pen on squared paper"],
}


class ReadyNetwork:
    """The network that comes with the program, with the transforms of a search."""

    def __init__(self) -> None:
        self.state = ready_network.read_ready()
        options = self.state["options"]
        self.network = build_network(
            options["network"],
            attention=options["attention"],
            f_dim=options["f_dim"],
            reduction=options["se_reduction"],
            activation=options["se_activation"],
        )
        self.network.load_state_dict(self.state["network"])
        size, normalize = options["image_size"], input_normalisation(options["network"])
        self.sketches = transforms.sketch_test(size, normalize=normalize)
        self.photos = transforms.photo_test(size, normalize=normalize)

    def embed_images(self, images: list[Image.Image], domain: int) -> np.ndarray:
        """Features (N, f_dim, 2) float32 of the images and of their flips."""
        transform = self.photos if domain == PHOTO else self.sketches
        batches = (
            (torch.stack([transform(image) for image in images[at : at + BATCH]]), torch.empty(0))
            for at in range(0, len(images), BATCH)
        )
        features = torch.cat(list(embed(self.network, batches, domain=domain, device=CPU)), dim=1)
        return features.permute(1, 2, 0).numpy()


def mask_unseen(gallery: list[tuple[str, int]]) -> np.ndarray:
    """Mask (N,) bool of the photos that the training left out."""
    by_label: dict[int, list[str]] = {}
    for name, label in sorted(gallery):
        by_label.setdefault(label, []).append(name)
    left_out = {name for names in by_label.values() for name in names[LEFT_OUT_EVERY - 1 :: LEFT_OUT_EVERY]}
    return np.array([name in left_out for name, _ in gallery])


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ready",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data_path", type=Path, default=Path("datasets/data"))
    parser.add_argument("--anno_path", type=Path, default=Path("anno"))
    options = parser.parse_args()
    data = load_annotation(options.data_path, options.anno_path, "sketchy")
    ready = ReadyNetwork()
    gallery = ready.embed_images([read_image(data.root / name, "RGB") for name, _ in data.gallery], PHOTO)
    labels = np.array([label for _, label in data.gallery])
    unseen = mask_unseen(data.gallery)
    query_labels = np.array([label for _, label in data.test_sketches])
    paths = [data.root / name for name, _ in data.test_sketches]
    counts = f"{len(paths)} test sketches, {len(labels)} photos, {unseen.sum()} of them unseen"
    print(f"step {ready.state['step']}, {counts}\n")
    print("| drawn by | gallery | MAP, Euclidean | MAP, angular | P@10, angular | chance: MAP, P@10 |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for style, degrade in STYLES.items():
            files = paths if degrade is None else write_drawings(degrade, paths, Path(folder))
            queries = ready.embed_images([read_drawing(file).image for file in files], SKETCH)
            for name, rows in (("all", np.ones_like(unseen)), ("unseen", unseen)):
                evaluations = [
                    evaluate(
                        feature_rankings(
                            queries, gallery[rows], query_labels, labels[rows], kind, memory=1 << 28
                        ),
                        query_labels,
                    )
                    for kind in ("euclidean", "angular")
                ]
                values = [evaluation.metrics["MAP"] for evaluation in evaluations] + [
                    evaluations[1].metrics["P@10"]
                ]
                chance = [evaluations[0].chance["MAP"], evaluations[0].chance["P@10"]]
                cells = [*(f"{value:.1f}" for value in values), ", ".join(f"{value:.1f}" for value in chance)]
                print(f"| {style} | {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
