"""The exact index: every photo is looked at, and the order is that of float64.

FAISS's flat index knows no mirror images and ranks by float32 sums alone, so this is the program's own.
"""

from dataclasses import dataclass

import numpy as np
import torch

from retrieval.distances import Side, gallery_side
from retrieval.search import nearest_to


@dataclass(frozen=True)
class Flat:
    """A gallery whose norms are known, so that one query is answered by one pass over its features."""

    gallery: Side
    kind: str

    @property
    def nbytes(self) -> int:
        """Memory, or file, of what is searched."""
        return self.gallery.values.nbytes

    def nearest(self, query: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
        """See `retrieval.INDICES`; where distances are equal, the earlier photo first."""
        positions, distances = nearest_to(self.gallery, query[None], self.kind, top, memory=1)
        return positions[0], distances[0]


def build(gallery: np.ndarray, kind: str, device: torch.device | str = "cpu") -> Flat:
    """Over features (G, D, M) float32 by `kind`, "euclidean" or "angular", on `device`."""
    return Flat(gallery_side(gallery, kind, device), kind)
