"""A real ImageNet network on real photographs, both out of packages of the registry (make real)."""
