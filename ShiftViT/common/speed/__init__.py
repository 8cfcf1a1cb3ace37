"""Throughput of the offline model, and of torch beside it."""
