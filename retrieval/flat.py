"""The exact index: every photo is compared, and the order is that of float64 distances.

FAISS's flat index does not know mirrored pairs and ranks by float32 sums alone, so this is our own.
"""

from dataclasses import dataclass

import numpy as np
import torch

from retrieval.distances import PreparedFeatures, prepare_gallery
from retrieval.search import find_nearest_in


@dataclass(frozen=True)
class FlatIndex:
    """A gallery whose norms are computed already, so that a query takes one pass over its features."""

    gallery: PreparedFeatures
    kind: str

    @property
    def nbytes(self) -> int:
        """Bytes that are searched, in memory or in a mapped file."""
        return self.gallery.values.nbytes

    def search(self, query: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
        """See `retrieval`; where distances are equal, the earlier photo first."""
        positions, distances = find_nearest_in(self.gallery, query[None], self.kind, top, memory=1)
        return positions[0], distances[0]


def build_index(gallery: np.ndarray, kind: str, device: torch.device | str = "cpu") -> FlatIndex:
    """Index features (G, D, M) float32 by distances of `kind`, "euclidean" or "angular", on `device`."""
    return FlatIndex(prepare_gallery(gallery, kind, device), kind)
