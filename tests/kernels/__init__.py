"""Tests of the custom ops: their function bodies and their kernels."""
