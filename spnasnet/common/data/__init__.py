"""Images in: find them and their labels, turn them into .bin files, say in a manifest what is
what."""
