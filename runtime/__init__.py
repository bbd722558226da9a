"""Run engines: ``Engine`` opens a folder, ``Session`` carries the state of a few sequences.

Needs numpy and onnxruntime; imports neither torch, onnx nor the exporter.
"""

from deltaport.runtime.engine import Engine
from deltaport.runtime.session import Session

__all__ = ["Engine", "Session"]
