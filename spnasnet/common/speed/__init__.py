"""Timing: throughput and latency of the offline model, of torch beside it, what disturbed them
(other programs, spread), and the tables of bench, of a sweep and of the demo.
"""
