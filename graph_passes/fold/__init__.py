"""Passes that do once, while compiling, what the graph would do in every step."""
