"""Stand-ins for Ascend's `atc` and `ais_bench` on a host that has no NPU; see set_env.sh."""
