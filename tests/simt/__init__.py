"""Kernels for GPUs: on a GPU where there is one, or on the host, where their threads take turns."""
