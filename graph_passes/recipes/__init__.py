"""Weights as recipes over checkpoint tensors: what passes rewrite, and how they become bytes."""
