"""Features projected to a plane: t-SNE (van der Maaten and Hinton, JMLR 2008) by scikit-learn."""

import numpy as np

from retrieval.hashing import normalise_rows
from utils.optional import import_optional

PERPLEXITY = 30  # about the number of neighbours that count; its authors suggest 5 to 50


def project_to_plane(features: np.ndarray, *, angular: bool, seed: int) -> np.ndarray:
    """Features (N, D) -> points (N, 2) float32; with `angular` the features are normalised first.

    Takes some seconds for 2,000. Raises UserError if scikit-learn is not installed.
    """
    manifold = import_optional("sklearn.manifold", "report", "the map of features")
    x = np.ascontiguousarray(normalise_rows(features) if angular else features)
    if not np.ptp(x, axis=0).any():  # t-SNE fails where all features are equal
        return np.zeros((len(x), 2), dtype=np.float32)
    initialisation = "pca" if min(x.shape) > 2 else "random"
    perplexity = min(PERPLEXITY, (len(x) - 1) / 3)
    return manifold.TSNE(perplexity=perplexity, init=initialisation, random_state=seed % 2**32).fit_transform(
        x
    )
