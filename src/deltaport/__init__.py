"""deltaport: compile Qwen3.5-family checkpoints into engines that run anywhere.

The package is split into rooms: ``deltaport.exporter``, ``deltaport.graph_passes``,
``deltaport.custom_ops`` and ``deltaport.runtime``, which needs neither torch nor onnx. Only the
exporter and ``custom_ops.torch_bindings`` import torch. Importing ``deltaport`` itself loads
nothing heavy.
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
