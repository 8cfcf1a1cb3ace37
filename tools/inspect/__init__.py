"""What explains and compares: a photograph's Top-5, torch beside the offline model layer by layer,
float16's cost, operators and their time, throughput from .bin files to result files.
"""
