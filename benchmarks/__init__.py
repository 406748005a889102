"""What is fast, and how fast: one script per claim, run by `make bench` (docs/performance.md)."""
