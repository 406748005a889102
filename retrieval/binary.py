"""The index of hash codes: photos by the Hamming distance between their codes and the query's.

A pass over the codes counts differing bits, 64 at a time; FAISS's binary flat index was measured slower
(docs/performance.md).
"""

from dataclasses import dataclass

import numpy as np

from retrieval.hashing import CodeMap, binary_codes
from retrieval.search import hamming_distances, packed


@dataclass(frozen=True)
class Binary:
    """`words`: the codes of G photos as arrays (G,) uint64; `code_map` makes those of a query."""

    words: list[np.ndarray]
    code_map: CodeMap
    angular: bool

    @property
    def nbytes(self) -> int:
        return sum(word.nbytes for word in self.words)

    def nearest(self, query: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
        """See `retrieval.INDICES`; distances are bits; the earlier photo first where they tie."""
        code = packed(binary_codes(query[None], self.code_map, angular=self.angular))
        distances = hamming_distances(self.words, [word[0] for word in code])
        top = min(top, len(distances))
        near = np.flatnonzero(distances <= np.partition(distances, top - 1)[top - 1])
        near = near[np.argsort(distances[near], kind="stable")[:top]]
        return near, distances[near].astype(np.float64)
