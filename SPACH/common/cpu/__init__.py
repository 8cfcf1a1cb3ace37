"""Stand-ins for Ascend's `atc` and `ais_bench` on a host that has no NPU; see set_env.sh."""
import sys

# OpenVINO and NNCF report their use to a server; without this package they do not.
sys.modules["openvino_telemetry"] = None
