"""Stand-ins for CUDA and TensorRT where neither is."""
