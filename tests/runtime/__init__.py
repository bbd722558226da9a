"""Tests of the runtime, on an engine small enough to compute by hand."""
