"""Passes that bring the graph closer to what a target runs."""
