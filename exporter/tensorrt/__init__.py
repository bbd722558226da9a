"""From the lowered graph to a plan that TensorRT or TensorRT-RTX runs; imports neither until then."""
