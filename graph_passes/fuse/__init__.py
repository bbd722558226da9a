"""Passes that make coarse ops of fine ones."""
