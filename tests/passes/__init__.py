"""Tests of the graph passes, on graphs written as text."""
