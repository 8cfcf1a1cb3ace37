"""`python3 -m ais_bench` on a host that has no NPU; see __main__.py."""
