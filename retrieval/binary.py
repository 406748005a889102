"""The index of hash codes: photos by the Hamming distance between their codes and the query's.

A pass over the codes counts differing bits, 64 at a time; FAISS's binary flat index was measured slower
(docs/performance.md).
"""

from dataclasses import dataclass

import numpy as np

from retrieval.hashing import CodeMap, binary_codes
from retrieval.search import hamming_distances, pack_bits


@dataclass(frozen=True)
class BinaryIndex:
    """`words`: the codes of G photos from `pack_bits`; `code_map` computes the code of a query."""

    words: list[np.ndarray]
    code_map: CodeMap
    angular: bool

    @property
    def nbytes(self) -> int:
        return sum(word.nbytes for word in self.words)

    def search(self, query: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
        """See `retrieval`; distances are numbers of bits; where they are equal, the earlier photo first."""
        query_words = pack_bits(binary_codes(query[None], self.code_map, angular=self.angular))
        distances = hamming_distances(self.words, [word[0] for word in query_words])
        top = min(top, len(distances))
        threshold = np.partition(distances, top - 1)[top - 1]
        candidates = np.flatnonzero(distances <= threshold)
        positions = candidates[np.argsort(distances[candidates], kind="stable")[:top]]
        return positions, distances[positions].astype(np.float64)
