"""Figures of the running programs, as JSON lines; ratios are taken within one run. Nothing here asserts a time."""
