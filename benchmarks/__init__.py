"""Speed claims, one script each; `make benchmarks` runs them all and writes RESULTS.md."""
