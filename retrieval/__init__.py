"""Features -> ranking -> metrics, and indices, which find the photos of a gallery that are near a query.

An index has `search(query, top)`: features (D, M) float32 of M mirrors -> positions (n,) int64 and distances
(n,) float64 of the n <= top photos that it finds, nearest first. Indices are in `flat`, `approximate` (hnsw,
ivfpq) and `binary`.
"""

INDICES = ("flat", "hnsw", "ivfpq", "binary")
