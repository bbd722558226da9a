"""Weights of 4 and 8 bits: recipes, formats, and the passes that make them."""
