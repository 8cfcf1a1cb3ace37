"""A stand-in for the ais_bench that runs .om files."""
