"""What drives Ascend's own tools on an Ascend host: the chip's name, atc's command line,
ais_bench's runs, CANN in a container, int8 by amct_onnx, and what the tools' messages mean.
"""
