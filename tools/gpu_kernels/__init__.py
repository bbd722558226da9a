"""The CUDA kernels as a library that tests and benchmarks call, and the memory of a GPU."""
