"""From the lowered graph to a plan of TensorRT or TensorRT-RTX; neither is imported here."""
