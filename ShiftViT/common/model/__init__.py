"""Checkpoint → ONNX, checked against torch. Finding or downloading the published weights, loading a
checkpoint of any form strictly, the network's code, the export, and the facts an ONNX carries.
"""
