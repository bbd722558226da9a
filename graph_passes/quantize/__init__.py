"""Passes that store weights in 4 and 8 bits, and what recipes, formats and layout are."""
