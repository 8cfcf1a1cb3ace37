"""Results → Top-1 and Top-5, joined with the labels by name."""
