"""What the benchmarks compare with: the published way, and drawings as other hands make them."""
