"""Stand-ins for Ascend's `atc` and `ais_bench` on a host that has no NPU; see set_env.sh."""
import sys

# OpenVINO and NNCF report their use to a server, from a process of its own; where this package is not to be had, they do not.
sys.modules["openvino_telemetry"] = None
