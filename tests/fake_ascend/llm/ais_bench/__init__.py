"""The ais_bench that evaluates language models: it has the name and nothing else in common."""
