"""The repository's own programs; no model folder carries them."""
