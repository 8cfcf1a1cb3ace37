"""What drives Ascend's own tools: chip, atc, ais_bench, AIPP."""
