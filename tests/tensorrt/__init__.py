"""The plugins for TensorRT in hosts that need no GPU: a mock of our own, and real builders."""
