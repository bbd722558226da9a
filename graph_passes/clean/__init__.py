"""Passes that take away what no result depends on."""
