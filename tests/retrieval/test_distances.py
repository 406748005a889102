"""Distances against the published values and a float64 brute force, pair by pair."""

import numpy as np
import pytest
import torch

from retrieval import distances as module
from retrieval.distances import DISTANCES, distance_chunks
from utils.errors import Diverged


def brute_force(query: np.ndarray, gallery: np.ndarray, kind: str) -> np.ndarray:
    """In float64, without a matrix product: squared distances, or 2 - 2 cos, smallest over mirrored pairs."""
    query, gallery = query.astype(np.float64), gallery.astype(np.float64)
    distances = np.empty((len(query), len(gallery)))
    for i, q in enumerate(query):
        for j, g in enumerate(gallery):
            pairs = [(q[:, a], g[:, b]) for a in range(q.shape[1]) for b in range(g.shape[1])]
            if kind == "euclidean":
                distances[i, j] = min(((x - y) ** 2).sum() for x, y in pairs)
            else:
                cosines = [x @ y / max(np.sqrt((x @ x) * (y @ y)), 1e-300) for x, y in pairs]
                distances[i, j] = min(2 - 2 * cosine for cosine in cosines)
    return distances


def exact(query: np.ndarray, gallery: np.ndarray, kind: str, memory: int = 1 << 20) -> np.ndarray:
    everything = np.arange(len(gallery))
    return np.stack(
        [
            chunk.exact_distances(row, everything)
            for chunk in distance_chunks(query, gallery, kind, memory=memory)
            for row in range(len(chunk.approx))
        ]
    )


def features(
    rng: np.random.Generator, count: int, dim: int = 16, mirrors: int = 2, shift: float = 0
) -> np.ndarray:
    return (rng.standard_normal((count, dim, mirrors)) + shift).astype(np.float32)


@pytest.mark.parametrize("kind", DISTANCES)
@pytest.mark.parametrize("memory", [1, 50_000, 1 << 30])
def test_equals_the_published_program(golden, kind: str, memory: int) -> None:
    golden_values = golden("evaluation")
    expected = golden_values[f"{kind}_distance"]
    chunks = distance_chunks(golden_values["query"], golden_values["gallery"], kind, memory=memory)
    approx = np.concatenate([chunk.approx.copy() for chunk in chunks])
    if kind == "angular":  # the published program has the angle
        approx = np.arccos(1 - approx / 2)
    assert approx.dtype == np.float32
    assert np.abs(approx - expected).max() / np.abs(expected).max() < 1e-5


@pytest.mark.parametrize("kind", DISTANCES)
@pytest.mark.parametrize("shift", [0, 1000])
@pytest.mark.parametrize("mirrors", [1, 2])
def test_both_ways_are_within_the_tolerance_of_a_brute_force(
    monkeypatch: pytest.MonkeyPatch, kind: str, shift: float, mirrors: int
) -> None:
    monkeypatch.setattr(module, "PHOTO_BLOCK", 40)
    rng = np.random.default_rng(0)
    query, gallery = features(rng, 12, 16, mirrors, shift), features(rng, 150, 16, mirrors, shift)
    gallery[3] = 0
    expected = brute_force(query, gallery, kind)
    assert np.allclose(exact(query, gallery, kind), expected, rtol=1e-11, atol=1e-9)
    for chunk in distance_chunks(query, gallery, kind, memory=3000):
        rows = slice(chunk.first, chunk.first + len(chunk.approx))
        assert np.abs(chunk.approx - expected[rows]).max() <= chunk.tolerance
        assert chunk.tolerance < (1 if shift else 1e-4) * np.median(expected)


def test_chunks_name_their_first_query_and_cover_all() -> None:
    rng = np.random.default_rng(0)
    query, gallery = features(rng, 7), features(rng, 9)
    chunks = list(distance_chunks(query, gallery, "euclidean", memory=100))
    lengths = [len(chunk.approx) for chunk in chunks]
    assert sum(lengths) == 7 and len(chunks) > 1
    assert [chunk.first for chunk in chunks] == np.cumsum([0, *lengths])[:-1].tolist()


@pytest.mark.parametrize("kind", DISTANCES)
def test_equal_features_are_at_equal_distances(kind: str) -> None:
    """Whatever their places: what ties must tie exactly."""
    rng = np.random.default_rng(0)
    gallery = features(rng, 70)
    gallery[[3, 17, 69]] = gallery[40]
    query = np.concatenate([features(rng, 2), gallery[40:41]])
    distances = exact(query, gallery, kind)
    assert (distances[:, [3, 17, 69]] == distances[:, [40]]).all()
    assert np.allclose(distances[2, 40], 0, atol=1e-12)


def test_zero_features_are_at_a_right_angle_to_everything() -> None:
    gallery = features(np.random.default_rng(0), 5)
    gallery[4] = 0
    assert exact(gallery, gallery, "angular")[4] == pytest.approx([2] * 5)


def test_features_that_are_not_finite_are_an_error() -> None:
    gallery = features(np.random.default_rng(0), 5)
    gallery[2, 3, 1] = np.nan
    with pytest.raises(Diverged, match=r"features of image 2 of 5.*not finite"):
        list(distance_chunks(gallery[:1], gallery, "euclidean", memory=1 << 20))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("kind", DISTANCES)
def test_cuda_is_within_its_tolerance(golden, kind: str) -> None:
    golden_values = golden("evaluation")
    expected = exact(golden_values["query"], golden_values["gallery"], kind)
    for chunk in distance_chunks(
        golden_values["query"], golden_values["gallery"], kind, memory=1 << 20, device="cuda"
    ):
        assert (
            np.abs(chunk.approx - expected[chunk.first : chunk.first + len(chunk.approx)]).max()
            <= chunk.tolerance
        )


def test_features_too_large_for_float32_are_an_error() -> None:
    gallery = features(np.random.default_rng(0), 5)
    gallery[3, 0, 0] = 1e25
    with pytest.raises(Diverged, match=r"features of image \d of 5.*too large"):
        list(distance_chunks(gallery[:1], gallery, "euclidean", memory=1 << 20))
