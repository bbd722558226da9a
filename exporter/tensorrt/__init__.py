"""From the lowered graph to a plan of TensorRT or TensorRT-RTX, neither of which is imported here."""
