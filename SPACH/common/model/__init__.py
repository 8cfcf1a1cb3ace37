"""Checkpoint → ONNX, checked against torch."""
