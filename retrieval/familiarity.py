"""Whether photos look like the training photos: how far their features are from all class centres."""

import numpy as np

from retrieval.hashing import normalise_rows

QUANTILE = 0.95  # fraction of the training photos that are within the limit
FOREIGN = 1 / 3  # a gallery with a larger fraction of photos beyond the limit is unlike the training photos


def center_distances(features: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """(N, f_dim), (C, f_dim) -> (N,) float64: the cosine distance to the nearest centre, in [0, 2].

    Cosine distances for every loss: the norm of a feature says little about what is in the photo.
    """
    features, centers = (
        normalise_rows(features.astype(np.float64)),
        normalise_rows(centers.astype(np.float64)),
    )
    return 1 - (features @ centers.T).max(axis=1)


def familiarity_limit(features: np.ndarray, centers: np.ndarray) -> float:
    """The distance within which QUANTILE of the training photos lie, by their `features` (N, f_dim)."""
    return float(np.quantile(center_distances(features, centers), QUANTILE))


def foreign_fraction(features: np.ndarray, centers: np.ndarray, limit: float) -> float:
    """The fraction of photos, with `features` (N, f_dim), that are farther than `limit` from every centre."""
    return float((center_distances(features, centers) > limit).mean())
