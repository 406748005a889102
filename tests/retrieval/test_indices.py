"""Indices: the exact one against brute force, the others against the exact one."""

import sys
from pathlib import Path

import numpy as np
import pytest

from retrieval import approximate, flat
from retrieval.binary import BinaryIndex
from retrieval.hashing import binary_codes, fit_code_map
from retrieval.search import pack_bits
from utils.errors import UserError

PHOTOS, WIDTH = 2000, 16


def clustered(count: int, seed: int, mirrors: int = 2) -> np.ndarray:
    """Features (count, WIDTH, mirrors) around 40 centres, mirror images near their originals."""
    centers = np.random.default_rng(99).standard_normal((40, WIDTH))
    rng = np.random.default_rng(seed)
    base = centers[rng.integers(40, size=count)] + 0.3 * rng.standard_normal((count, WIDTH))
    views = base[..., None] + 0.05 * rng.standard_normal((count, WIDTH, mirrors))
    return np.ascontiguousarray(views.transpose(2, 0, 1), dtype=np.float32).transpose(1, 2, 0)


def brute_force(query: np.ndarray, gallery: np.ndarray, kind: str) -> np.ndarray:
    """Distances (G,) of one query by loops over mirrored pairs, in float64."""
    q, g = query.astype(np.float64), gallery.astype(np.float64)
    if kind == "angular":
        q, g = q / np.linalg.norm(q, axis=0), g / np.linalg.norm(g, axis=1, keepdims=True)
    pairs = [
        ((g[..., theirs] - q[:, mine]) ** 2).sum(1)
        for mine in range(q.shape[1])
        for theirs in range(g.shape[2])
    ]
    return np.min(pairs, axis=0)


@pytest.mark.parametrize("kind", ["euclidean", "angular"])
@pytest.mark.parametrize("mirrors", [1, 2])
def test_the_flat_index_is_brute_force(kind: str, mirrors: int) -> None:
    gallery, queries = clustered(PHOTOS, 1, mirrors), clustered(5, 2, mirrors)
    index = flat.build_index(gallery, kind)
    for query in queries:
        positions, distances = index.search(query, 10)
        expected = brute_force(query, gallery, kind)
        assert np.array_equal(positions, np.argsort(expected, kind="stable")[:10])
        assert np.allclose(distances, expected[positions], rtol=1e-5)
    positions, _ = index.search(queries[0], 10 * PHOTOS)
    assert len(positions) == PHOTOS


@pytest.mark.parametrize("kind", ["euclidean", "angular"])
@pytest.mark.parametrize("name", ["hnsw", "ivfpq"])
def test_approximate_indices_find_most_and_give_exact_distances(name: str, kind: str, tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    gallery, queries = clustered(PHOTOS, 1), clustered(20, 2)
    path = tmp_path / "index"
    approximate.write_index(name, gallery, kind, path)
    index, exact = approximate.read_index(name, gallery, kind, path), flat.build_index(gallery, kind)
    assert index.nbytes == path.stat().st_size
    found = []
    for query in queries:
        positions, distances = index.search(query, 10)
        assert np.all(np.diff(distances) >= 0) and len(set(positions)) == len(positions) == 10
        assert np.allclose(distances, brute_force(query, gallery, kind)[positions], rtol=1e-5)
        found.append(len(set(positions) & set(exact.search(query, 10)[0])) / 10)
    assert np.mean(found) > 0.9
    assert len(index.search(queries[0], PHOTOS // 4)[0]) == PHOTOS // 4  # long results are whole


def test_a_product_quantised_index_is_an_eighth_of_a_byte_a_feature_and_its_overhead(tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    sizes = []
    for count in (PHOTOS, 2 * PHOTOS):
        approximate.write_index("ivfpq", clustered(count, 1), "euclidean", tmp_path / "index")
        sizes.append((tmp_path / "index").stat().st_size)
    # two views a photo, two codes of a byte each, eight bytes that name them, and longer tables of lists
    assert 2 * (WIDTH / 8 + 8) <= (sizes[1] - sizes[0]) / PHOTOS < 40


def test_too_few_photos_and_files_that_are_not_an_index(tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    few, path = clustered(100, 1), tmp_path / "index"
    with pytest.raises(UserError, match="256 features at least, and 100 photos have 200; take --index=flat"):
        approximate.write_index("ivfpq", few, "euclidean", path)
    approximate.write_index("hnsw", few, "euclidean", path)
    assert len(approximate.read_index("hnsw", few, "euclidean", path).search(few[0], 500)[0]) == 100
    with pytest.raises(RuntimeError, match="200 vectors"):
        approximate.read_index("hnsw", clustered(99, 1), "euclidean", path)
    for content in (b"", path.read_bytes()[:1000], b"\x80\x04cos\nsystem\n"):
        path.write_bytes(content)
        with pytest.raises(RuntimeError):
            approximate.read_index("hnsw", few, "euclidean", path)


def test_without_faiss_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(UserError, match=r"faiss.*pip install -r requirements/search\.txt"):
        approximate.write_index("hnsw", clustered(10, 1), "euclidean", tmp_path / "index")


@pytest.mark.parametrize("bits", [12, 64, 100])
def test_hash_codes_by_counting_bits(bits: int) -> None:
    gallery, queries = clustered(300, 1), clustered(5, 2)
    code_map, _ = fit_code_map(clustered(40, 3)[..., 0], bits, angular=False, seed=0)
    codes = binary_codes(gallery, code_map, angular=False)
    index = BinaryIndex(pack_bits(codes), code_map, angular=False)
    assert index.nbytes == 300 * 8 * -(-bits // 64)
    for query in queries:
        own = binary_codes(query[None], code_map, angular=False)
        expected = (codes != own).sum(1)
        positions, distances = index.search(query, 20)
        assert np.array_equal(positions, np.argsort(expected, kind="stable")[:20])
        assert np.array_equal(distances, expected[positions])
    assert len(index.search(queries[0], 1000)[0]) == 300
