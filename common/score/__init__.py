"""Results → Top-1 and Top-5, joined with the labels by name; the verdict beside the published
figure; the comparison with the ONNX; and where results came from.
"""
