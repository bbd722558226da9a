"""Kernels for GPUs: their arithmetic, on the host, where the threads of a team take turns."""
