"""Timing: throughput and latency of the offline model, of torch beside it, what disturbed them
(other programs, spread), and the tables that bench, sweep and demo print.
"""
