"""Distances and rankings against the published figures and a float64 brute force."""

import numpy as np
import pytest
import torch

from retrieval.distances import DISTANCES, distance_rows, hamming_rows


def collect(rows) -> np.ndarray:
    return np.concatenate([distances for _, distances in rows])


def brute_force(query: np.ndarray, gallery: np.ndarray, kind: str) -> np.ndarray:
    """Pair by pair and mirror by mirror, in float64, without a matrix product."""
    query, gallery = query.astype(np.float64), gallery.astype(np.float64)
    found = np.empty((len(query), len(gallery)))
    for i, q in enumerate(query):
        for j, g in enumerate(gallery):
            pairs = [(q[:, a], g[:, b]) for a in (0, 1) for b in (0, 1)]
            if kind == "euclidean":
                found[i, j] = min(((x - y) ** 2).sum() for x, y in pairs)
            else:
                found[i, j] = min(np.arccos(x @ y / np.sqrt((x @ x) * (y @ y))) for x, y in pairs)
    return found


@pytest.mark.parametrize("kind", DISTANCES)
@pytest.mark.parametrize("memory", [1, 50_000, 1 << 30])
def test_equals_the_published_program(golden, kind: str, memory: int) -> None:
    figures = golden("evaluation")
    found = collect(distance_rows(figures["query"], figures["gallery"], kind, memory=memory))
    expected = figures[f"{kind}_distance"]
    assert np.abs(found - expected).max() / np.abs(expected).max() < 1e-5


@pytest.mark.parametrize("kind", DISTANCES)
@pytest.mark.parametrize("shift", [0, 1000])
def test_the_ranking_is_that_of_a_brute_force_in_float64(kind: str, shift: float) -> None:
    rng = np.random.default_rng(0)
    query, gallery = ((rng.standard_normal((n, 16, 2)) + shift).astype(np.float32) for n in (12, 150))
    found = collect(distance_rows(query, gallery, kind, memory=30_000))
    expected = brute_force(query, gallery, kind)
    assert (np.argsort(found, axis=1) == np.argsort(expected, axis=1)).all()


def test_chunks_name_their_first_query_and_cover_all() -> None:
    rng = np.random.default_rng(0)
    query, gallery = rng.standard_normal((7, 4, 2)), rng.standard_normal((9, 4, 2))
    firsts = [(first, len(rows)) for first, rows in distance_rows(query, gallery, "euclidean", memory=1000)]
    assert sum(length for _, length in firsts) == 7 and len(firsts) > 1
    assert [first for first, _ in firsts] == np.cumsum([0, *(n for _, n in firsts)])[:-1].tolist()


def test_exact_matches_and_zero_features_have_numbers() -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((5, 8, 2)).astype(np.float32)
    features[4] = 0
    for kind in DISTANCES:
        found = collect(distance_rows(features, features, kind, memory=1 << 20))
        assert not np.isnan(found).any()
        assert np.allclose(np.diag(found)[:4], 0, atol=1e-6)
    assert found[4, 0] == pytest.approx(np.pi / 2)


def test_hamming_equals_the_published_figures(golden) -> None:
    figures = golden("evaluation")
    for memory in (1, 1 << 20):
        found = collect(hamming_rows(figures["code_query"], figures["code_gallery"], memory=memory))
        assert (found == figures["hamming"]).all()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("kind", DISTANCES)
def test_cuda_gives_the_same_ranking(golden, kind: str) -> None:
    figures = golden("evaluation")
    cpu, cuda = (
        collect(distance_rows(figures["query"], figures["gallery"], kind, memory=1 << 20, device=device))
        for device in ("cpu", "cuda")
    )
    assert (np.argsort(cpu, axis=1) == np.argsort(cuda, axis=1)).all()
