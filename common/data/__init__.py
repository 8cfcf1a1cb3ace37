"""Images in: find them and their labels, turn them into .bin files by the model's preprocessing
(decoding and resizing by Pillow or, faster, by OpenCV and numba), and say in a manifest what is
what. Also the demo's generated images and weights.
"""
