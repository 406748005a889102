"""Rank photos by a drawing, nearest first: python use.py FOLDER DRAWING PHOTO...

FOLDER holds exported networks. Their metadata say how images are prepared and compared.
"""

import json
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

Network = Callable[[np.ndarray], np.ndarray]  # float32 (N, 3, S, S) -> features (N, f_dim)
TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # EXIF orientation -> Image.Transpose


def open_image(path: str, mode: str) -> Image.Image:
    """Upright, transparency laid on white paper, in grey (L) or RGB."""
    image: Image.Image = Image.open(path)
    image.load()
    try:
        turn = TURNS.get(image.getexif().get(0x0112))  # type: ignore[arg-type]
    except Exception:  # unreadable EXIF: as if there were none
        turn = None
    if turn is not None:
        image = image.transpose(Image.Transpose(turn))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)


def prepare_sketch(path: str, metadata: Mapping[str, str]) -> np.ndarray:
    """The whole drawing at 1.1 times the size, of that the middle: uint8 (3, S, S)."""
    size = int(metadata["image_size"])
    enlarged = int(1.1 * size)
    first = round((enlarged - size) / 2)
    image = open_image(path, "L").resize((enlarged, enlarged), Image.Resampling.BILINEAR)
    middle = image.crop((first, first, first + size, first + size))
    return np.stack([np.asarray(middle)] * 3)


def prepare_photo(path: str, metadata: Mapping[str, str]) -> np.ndarray:
    """The whole photo, its channels in the order of the training: uint8 (3, S, S)."""
    size = int(metadata["image_size"])
    image = open_image(path, "RGB").resize((size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(image).transpose(2, 0, 1)
    return pixels[::-1] if metadata["photo_channels"] == "bgr" else pixels


def load_onnx(folder: Path, domain: str) -> tuple[Network, Mapping[str, str]]:
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / f"{domain}.onnx")
    metadata = session.get_modelmeta().custom_metadata_map
    return lambda images: session.run(["features"], {"images": images})[0], metadata


def load_torchscript(folder: Path, domain: str) -> tuple[Network, Mapping[str, str]]:
    import torch

    extra = {"about.json": ""}
    network = torch.jit.load(str(folder / f"{domain}.pt"), map_location="cpu", _extra_files=extra)

    @torch.inference_mode()
    def embed(images: np.ndarray) -> np.ndarray:
        return network(torch.from_numpy(images)).numpy()

    return embed, json.loads(extra["about.json"])


def load_safetensors(folder: Path, domain: str) -> tuple[Network, Mapping[str, str]]:
    import torch
    from safetensors import safe_open

    from models import build_network  # of the program that trained the network

    with safe_open(folder / "model.safetensors", framework="pt") as file:
        metadata = file.metadata()
        names = [name for name in file.keys() if name.startswith("network.")]  # noqa: SIM118
        state = {name.removeprefix("network."): file.get_tensor(name) for name in names}
    network = build_network(
        metadata["network"],
        attention=metadata["attention"],
        f_dim=int(metadata["f_dim"]),
        reduction=int(metadata["se_reduction"]),
        activation=metadata["se_activation"],
        dase_layer4=metadata["dase_layer4"] == "True",
    ).eval()
    network.load_state_dict(state)

    @torch.inference_mode()
    def embed(images: np.ndarray) -> np.ndarray:
        bits = torch.full((len(images),), float(domain == "photo"))
        return network(torch.from_numpy(images), bits).numpy()

    return embed, metadata


LOADERS = {"sketch.onnx": load_onnx, "sketch.pt": load_torchscript, "model.safetensors": load_safetensors}


def load(folder: Path, domain: str) -> tuple[Network, Mapping[str, str]]:
    """The network for "sketch" or "photo" in the folder, and what its file says about it."""
    for name, loader in LOADERS.items():
        if (folder / name).is_file():
            return loader(folder, domain)
    raise SystemExit(f"{folder} has none of {', '.join(LOADERS)}")


def embed_views(network: Network, pixels: Sequence[np.ndarray], metadata: Mapping[str, str]) -> np.ndarray:
    """Features of N images, as they are and, unless the test did without, mirrored: (1 or 2, N, f_dim)."""
    images = np.stack(pixels).astype(np.float32) / 255
    normalisation = json.loads(metadata["input_normalisation"])  # mean and deviation by channel, or null
    if normalisation:
        mean, std = (np.asarray(values, np.float32)[:, None, None] for values in normalisation)
        images = (images - mean) / std
    features = []
    for view in (images, images[..., ::-1]) if metadata["mirror"] == "on" else (images,):
        batches = [np.ascontiguousarray(view[i : i + 32]) for i in range(0, len(view), 32)]
        features.append(np.concatenate([network(batch) for batch in batches]))
    return np.stack(features)


def measure_distances(query: np.ndarray, gallery: np.ndarray, metadata: Mapping[str, str]) -> np.ndarray:
    """A drawing (V, 1, D), photos (V, N, D) -> (N,): the smallest over all pairs of views."""
    if metadata["test_distance"] == "euclidean":
        return ((query[:, None] - gallery[None]) ** 2).sum(axis=-1).min(axis=(0, 1))
    query, gallery = (
        features / np.linalg.norm(features, axis=-1, keepdims=True) for features in (query, gallery)
    )
    cosines = (query[:, None] * gallery[None]).sum(axis=-1)
    return np.arccos(np.clip(cosines, -1, 1)).min(axis=(0, 1))


if __name__ == "__main__":
    folder, drawing, *photos = sys.argv[1:]
    sketches, metadata = load(Path(folder), "sketch")
    query = embed_views(sketches, [prepare_sketch(drawing, metadata)], metadata)
    network, metadata = load(Path(folder), "photo")
    gallery = embed_views(network, [prepare_photo(path, metadata) for path in photos], metadata)
    distances = measure_distances(query, gallery, metadata)
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # for names of any kind
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # end quietly when nobody reads on (| head)
    for position in np.argsort(distances, kind="stable"):
        print(f"{distances[position]:.6f}  {photos[position]}")
