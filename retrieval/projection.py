"""Features on a plane, to be looked at: t-SNE (van der Maaten and Hinton, JMLR 2008) by scikit-learn."""

import numpy as np

from retrieval.hashing import normalised
from utils.optional import import_optional

PERPLEXITY = 30  # about how many neighbours count; its authors say 5 to 50


def project(features: np.ndarray, *, angular: bool, seed: int) -> np.ndarray:
    """Features (N, D) -> points (N, 2) float32; rows are scaled to unit length first if `angular`.

    Takes some seconds for 2,000. Raises UserError if scikit-learn is not there.
    """
    manifold = import_optional("sklearn.manifold", "report", "the map of features")
    x = np.ascontiguousarray(normalised(features) if angular else features)
    if not np.ptp(x, axis=0).any():  # all the same: there is nothing to lay out
        return np.zeros((len(x), 2), dtype=np.float32)
    start = "pca" if min(x.shape) > 2 else "random"
    perplexity = min(PERPLEXITY, (len(x) - 1) / 3)
    return manifold.TSNE(perplexity=perplexity, init=start, random_state=seed % 2**32).fit_transform(x)
