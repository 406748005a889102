"""Rankings of all queries, against brute force in float64 and the published codes."""

from pathlib import Path

import numpy as np
import pytest

from retrieval.distances import DISTANCES
from retrieval.ranking import rank_positives
from retrieval.search import code_rankings, feature_rankings, find_nearest
from tests.retrieval.test_distances import brute_force, features
from tests.retrieval.test_ranking import groups


@pytest.mark.parametrize(
    ("kind", "shift"), [("euclidean", 0), ("euclidean", 1000), ("angular", 0), ("angular", 9)]
)
def test_the_ranking_is_that_of_a_brute_force_in_float64(kind: str, shift: float) -> None:
    rng = np.random.default_rng(0)
    query, gallery = features(rng, 12, shift=shift), features(rng, 150, shift=shift)
    gallery[50:60] = np.nextafter(gallery[40:50], np.float32(0))  # too close for products in float32
    labels = rng.integers(0, 4, 12), rng.integers(0, 4, 150)
    found = feature_rankings(query, gallery, *labels, kind, memory=3000)
    distances = brute_force(query, gallery, kind)
    for row, ranking in enumerate(found):
        expected = rank_positives(distances[row], labels[1] == labels[0][row])
        assert groups(ranking) == groups(expected)
    assert row == 11


def test_a_query_far_longer_than_the_others_is_ranked_exactly_too() -> None:
    """The error of its distances is larger than that of almost any sample of queries."""
    rng = np.random.default_rng(0)
    query, gallery = features(rng, 300, 64), features(rng, 400, 64)
    query[123] *= 1000
    labels = rng.integers(0, 4, 300), rng.integers(0, 4, 400)
    found = list(feature_rankings(query, gallery, *labels, "euclidean", memory=1 << 30))
    distances = brute_force(query[123:124], gallery, "euclidean")[0]
    assert groups(found[123]) == groups(rank_positives(distances, labels[1] == labels[0][123]))


def test_features_may_be_mapped_from_a_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    planes = rng.standard_normal((2, 90, 16)).astype(np.float32)
    np.save(tmp_path / "gallery.npy", planes)
    mapped = np.load(tmp_path / "gallery.npy", mmap_mode="c").transpose(1, 2, 0)
    query, labels = features(rng, 5), (rng.integers(0, 3, 5), rng.integers(0, 3, 90))
    one, other = (
        list(feature_rankings(query, gallery, *labels, "euclidean", memory=3000))
        for gallery in (mapped, np.ascontiguousarray(planes.transpose(1, 2, 0)))
    )
    assert [groups(each) for each in one] == [groups(each) for each in other]


@pytest.mark.parametrize("kind", DISTANCES)
def test_nearest_photos(kind: str) -> None:
    rng = np.random.default_rng(1)
    query, gallery = features(rng, 5), features(rng, 80)
    positions, distances = find_nearest(query, gallery, kind, 7, memory=1000)
    expected = brute_force(query, gallery, kind)
    assert (positions == np.argsort(expected, axis=1)[:, :7]).all()
    assert np.allclose(distances, np.sort(expected, axis=1)[:, :7])
    assert find_nearest(query, gallery, kind, 500, memory=1000)[0].shape == (5, 80)


def test_codes_are_ranked_by_the_published_hamming_distances(golden) -> None:
    golden_values = golden("evaluation")
    labels = golden_values["query_label"], golden_values["gallery_label"]
    found = list(code_rankings(golden_values["code_query"], golden_values["code_gallery"], *labels))
    assert len(found) == len(labels[0])
    for row, ranking in enumerate(found):
        expected = rank_positives(golden_values["hamming"][row].astype(float), labels[1] == labels[0][row])
        assert groups(ranking) == groups(expected)


@pytest.mark.parametrize("length", [1, 7, 32, 64, 65, 128, 300])
def test_codes_of_any_length(length: int) -> None:
    rng = np.random.default_rng(length)
    query, gallery = (rng.integers(0, 2, (count, length)).astype(np.uint8) for count in (4, 60))
    labels = np.array([0, 1, 2, 9]), rng.integers(0, 3, 60)
    for row, ranking in enumerate(code_rankings(query, gallery, *labels)):
        distances = (query[row] != gallery).sum(1).astype(float)
        assert groups(ranking) == groups(rank_positives(distances, labels[1] == labels[0][row]))
