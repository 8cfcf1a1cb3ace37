"""For people who want to look inside: predict, compare, check; the repository's, not a model folder's."""
