"""The program in every model card: rank photos by a drawing, with nothing but the files handed on.

It does what --phase=test does, in plain numpy and Pillow; tests take it out of a card, run it and compare.
"""

import argparse
from string import Template

from datasets.transforms import IMAGENET_MEAN, IMAGENET_STD

INPUT = '''\
"""Photos by their distance to a drawing, nearest first: python use.py FOLDER DRAWING PHOTO..."""

import sys
from pathlib import Path

import numpy as np
$imports
from PIL import Image
$own_imports
SIZE = $size  # the side of what the network takes, pixels
TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # EXIF orientation -> Image.Transpose


def opened(path, mode):
    """Upright, transparency laid on white paper, in grey (L) or RGB."""
    image = Image.open(path)
    image.load()
    try:
        turn = TURNS.get(image.getexif().get(0x0112))
    except Exception:  # unreadable EXIF: as if there were none
        turn = None
    if turn is not None:
        image = image.transpose(turn)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)


def sketch(path):
    """The whole drawing at 1.1 times the size, and its middle: uint8 (3, SIZE, SIZE)."""
    enlarged = int(1.1 * SIZE)
    first = round((enlarged - SIZE) / 2)
    image = opened(path, "L").resize((enlarged, enlarged), Image.Resampling.BILINEAR)
    return np.stack([image.crop((first, first, first + SIZE, first + SIZE))] * 3)


def photo(path):
    """The whole photo, $order first: uint8 (3, SIZE, SIZE)."""
    image = opened(path, "RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    return np.asarray(image).transpose(2, 0, 1)$reverse


def network_input(pixels):
    """A list of N such images -> float32 (N, 3, SIZE, SIZE)."""
    images = np.stack(pixels).astype(np.float32) / 255
    return $normalised

'''

ONNX = '''
def loaded(folder, domain):
    """The network for "sketch" or "photo": images -> features (N, $f_dim)."""
    session = onnxruntime.InferenceSession(Path(folder) / f"{domain}.onnx")
    return lambda images: session.run(["features"], {"images": images})[0]

'''

TORCHSCRIPT = '''
def loaded(folder, domain):
    """The network for "sketch" or "photo": images -> features (N, $f_dim)."""
    network = torch.jit.load(Path(folder) / f"{domain}.pt", map_location="cpu")

    @torch.inference_mode()
    def features(images):
        return network(torch.from_numpy(images)).numpy()

    return features

'''

SAFETENSORS = '''
def loaded(folder, domain):
    """The network, told that its images are of "sketch" or "photo": images -> features (N, $f_dim)."""
    with safe_open(Path(folder) / "model.safetensors", framework="pt") as file:
        said = file.metadata()
        names = [name for name in file.keys() if name.startswith("network.")]
        state = {name.removeprefix("network."): file.get_tensor(name) for name in names}
    network = build_network(
        said["network"],
        attention=said["attention"],
        f_dim=int(said["f_dim"]),
        reduction=int(said["se_reduction"]),
        activation=said["se_activation"],
        dase_layer4=said["dase_layer4"] == "True",
    ).eval()
    network.load_state_dict(state)

    @torch.inference_mode()
    def features(images):
        bits = torch.full((len(images),), float(domain == "photo"))
        return network(torch.from_numpy(images), bits).numpy()

    return features

'''

RETRIEVAL = '''
def embedded(network, pixels):
    """Features of N images$views: ($count, N, $f_dim)."""
    images = network_input(pixels)
    features = []
    for view in $each_view:
        batches = [np.ascontiguousarray(view[i : i + 32]) for i in range(0, len(view), 32)]
        features.append(np.concatenate([network(batch) for batch in batches]))
    return np.stack(features)


def distances(query, gallery):
    """A drawing ($count, 1, D), photos ($count, N, D) -> (N,): the smallest over all pairs of views."""
$distances


if __name__ == "__main__":
    folder, drawing, *photos = sys.argv[1:]
    query = embedded(loaded(folder, "sketch"), [sketch(drawing)])
    gallery = embedded(loaded(folder, "photo"), [photo(path) for path in photos])
    found = distances(query, gallery)
    for position in np.argsort(found, kind="stable"):
        print(f"{found[position]:.6f}  {photos[position]}")
'''

IMPORTS = {
    "onnx": "import onnxruntime",
    "torchscript": "import torch",
    "safetensors": "import torch\nfrom safetensors import safe_open",
}
OWN_IMPORTS = "\nfrom models import build_network  # of the program that trained the network\n"
LOADERS = {"onnx": ONNX, "torchscript": TORCHSCRIPT, "safetensors": SAFETENSORS}

DISTANCES = {
    "euclidean": """\
    pairs = ((query[:, None] - gallery[None]) ** 2).sum(axis=-1)
    return pairs.min(axis=(0, 1))""",
    "angular": """\
    query, gallery = (each / np.linalg.norm(each, axis=-1, keepdims=True) for each in (query, gallery))
    cosines = (query[:, None] * gallery[None]).sum(axis=-1)
    return np.arccos(np.clip(cosines, -1, 1)).min(axis=(0, 1))""",
}


def definition(options: argparse.Namespace) -> str:
    """Which distance the run was tested with, in words."""
    kind = {"euclidean": "squared Euclidean distance", "angular": "angle"}[options.test_distance]
    if options.mirror == "off":
        return f"the {kind} between the features of sketch and photo"
    return f"the smallest {kind} among the four pairs of sketch and photo, each as it is or mirrored"


def usage(options: argparse.Namespace) -> str:
    """A complete program for files of --format, with the run's input, distance and mirror rule."""
    bgr, mirrored = options.photo_channels == "bgr", options.mirror == "on"
    mean, std = (f"np.float32({list(each)})[:, None, None]" for each in (IMAGENET_MEAN, IMAGENET_STD))
    return Template(INPUT + LOADERS[options.format] + RETRIEVAL).substitute(
        imports=IMPORTS[options.format],
        own_imports=OWN_IMPORTS if options.format == "safetensors" else "",
        size=options.image_size,
        f_dim=options.f_dim,
        order="blue" if bgr else "red",
        reverse="[::-1]" if bgr else "",
        normalised=f"(images - {mean}) / {std}" if options.normalize else "images",
        views=", as they are and mirrored" if mirrored else "",
        count=2 if mirrored else 1,
        each_view="(images, images[..., ::-1])" if mirrored else "(images,)",
        distances=DISTANCES[options.test_distance],
    )
