"""What the network that comes with the program finds in Sketchy's photos, for models/ready/README.md.

python -m benchmarks.ready --data_path=FOLDER --anno_path=FOLDER

One network answers two questions, because the photos that it was trained on are known: of a category's photos
in the order of their names every fifth was left out.

(a) all photos are the gallery, as is the protocol of the field; a fifth of them was never seen.
(b) the gallery is those unseen photos alone.
(c) both for sketches as other hands draw them, read as a search reads them.

Prints a table, with what a random order would have.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
from scipy.ndimage import map_coordinates, zoom

from benchmarks.baselines.degraded import WAYS, Rng, saved
from benchmarks.drawings import CPU, handed_in
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
    """A felt-tip: lines of some 3 % of the sheet, with hard edges."""
    width = 2 * round(0.01 * max(sketch.size)) + 1
    return saved(sketch.convert("L").filter(ImageFilter.MinFilter(width)), path.with_suffix(".png"))


def mouse_on_a_canvas(sketch: Image.Image, rng: Rng, path: Path) -> Path:
    """A shaky hand on a canvas of 400 x 400 pixels: every stroke trembles, with lines of 2 %."""
    ink = 255 - np.asarray(sketch.convert("L").resize((400, 400), Image.Resampling.BICUBIC), dtype=np.float32)
    shifts = [zoom(rng.normal(scale=5, size=(20, 20)), 20) for _ in range(2)]  # pixels
    where = np.mgrid[0:400, 0:400] + np.stack(shifts)
    shaken = Image.fromarray((255 - map_coordinates(ink, where, order=1)).astype(np.uint8))
    return saved(shaken.filter(ImageFilter.MinFilter(5)), path.with_suffix(".png"))


HANDS = {
    "sketches as they are": None,
    "thick pen": thick_pen,
    "mouse on a canvas": mouse_on_a_canvas,
    "photo of pencil on paper": WAYS["photo of pencil on paper"],
    "photo of pen on squared paper": WAYS["photo of pen on squared paper"],
}


class Ready:
    """The network with what a search does before it."""

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

    def features(self, images: list[Image.Image], domain: int) -> np.ndarray:
        """(N, f_dim, 2) float32, as is and mirrored."""
        transform = self.photos if domain == PHOTO else self.sketches
        parts = (
            (torch.stack([transform(image) for image in images[at : at + BATCH]]), torch.empty(0))
            for at in range(0, len(images), BATCH)
        )
        found = torch.cat(list(embed(self.network, parts, domain=domain, device=CPU)), dim=1)
        return found.permute(1, 2, 0).numpy()


def are_unseen(gallery: list[tuple[str, int]]) -> np.ndarray:
    """Which photos the training left out: (N,) bool."""
    of_label: dict[int, list[str]] = {}
    for name, label in sorted(gallery):
        of_label.setdefault(label, []).append(name)
    left_out = {name for names in of_label.values() for name in names[LEFT_OUT_EVERY - 1 :: LEFT_OUT_EVERY]}
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
    ready = Ready()
    gallery = ready.features([read_image(data.root / name, "RGB") for name, _ in data.gallery], PHOTO)
    labels, unseen = np.array([label for _, label in data.gallery]), are_unseen(data.gallery)
    query_labels = np.array([label for _, label in data.test_sketches])
    paths = [data.root / name for name, _ in data.test_sketches]
    counts = f"{len(paths)} test sketches, {len(labels)} photos, {unseen.sum()} of them unseen"
    print(f"step {ready.state['step']}, {counts}\n")
    print("| drawn by | gallery | MAP, Euclidean | MAP, angular | P@10, angular | chance: MAP, P@10 |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for hand, way in HANDS.items():
            files = paths if way is None else handed_in(way, paths, Path(folder))
            queries = ready.features([read_drawing(file).image for file in files], SKETCH)
            for name, rows in (("all", np.ones_like(unseen)), ("unseen", unseen)):
                found = [
                    evaluate(
                        feature_rankings(
                            queries, gallery[rows], query_labels, labels[rows], kind, memory=1 << 28
                        ),
                        query_labels,
                    )
                    for kind in ("euclidean", "angular")
                ]
                values = [each.metrics["MAP"] for each in found] + [found[1].metrics["P@10"]]
                chance = [found[0].chance["MAP"], found[0].chance["P@10"]]
                cells = [*(f"{value:.1f}" for value in values), ", ".join(f"{value:.1f}" for value in chance)]
                print(f"| {hand} | {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
