"""The compiler between trace and package: passes over an ``onnx_ir`` graph."""
