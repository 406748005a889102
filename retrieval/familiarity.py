"""Whether photos are like those of a training: how far their features are from all class centres."""

import numpy as np

QUANTILE = 0.95  # of the training photos' distances: so many of them are within the limit
FOREIGN = 1 / 3  # of a gallery beyond the limit: it is unlike the training photos


def center_distances(features: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """(N, f_dim), (C, f_dim) -> (N,) float64: 1 - cos of the angle to the nearest centre, in [0, 2].

    By angle for every loss: the length of a feature says little of what is in the photo.
    """
    directions = [
        each / np.maximum(np.linalg.norm(each, axis=1, keepdims=True), 1e-12)
        for each in (features.astype(np.float64), centers.astype(np.float64))
    ]
    return 1 - (directions[0] @ directions[1].T).max(axis=1)


def familiarity_limit(features: np.ndarray, centers: np.ndarray) -> float:
    """The distance that QUANTILE of the training photos with these features (N, f_dim) keep within."""
    return float(np.quantile(center_distances(features, centers), QUANTILE))


def foreign_fraction(features: np.ndarray, centers: np.ndarray, limit: float) -> float:
    """The fraction of photos with features (N, f_dim) that are farther than `limit` from every centre."""
    return float((center_distances(features, centers) > limit).mean())
