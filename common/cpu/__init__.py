"""Stand-ins for Ascend's `atc` and `ais_bench` on a host that has no NPU (set_env.sh): compile an
ONNX for OpenVINO or ONNX Runtime, rewrite its graph for speed, bytes in (AIPP), bf16, fp16, int8,
and check what it computes.
"""
import sys

# OpenVINO and NNCF report their use to a server; without this package they do not.
sys.modules["openvino_telemetry"] = None
