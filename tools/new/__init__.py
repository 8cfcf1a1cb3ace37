"""A folder for one more network of timm."""
