"""Features -> ranking -> numbers, and indices: which photos of a gallery are near a query.

An index has `nearest(query, top)`: features (D, M) of M mirrors -> positions (n,) int64 and distances (n,)
float64 of the n <= top photos it finds, nearest first. They are in `flat`, `approximate` (hnsw, ivfpq) and
`binary`.
"""

INDICES = ("flat", "hnsw", "ivfpq", "binary")
