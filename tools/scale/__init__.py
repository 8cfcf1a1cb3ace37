"""The same chain over a Ray cluster."""
