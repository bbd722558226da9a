"""From a checkpoint to a graph.

``model_spec``, ``checkpoint`` and ``recipe`` read a checkpoint without torch; everything that
imports torch lives in ``torch_model``, ``trace`` and ``custom_ops.torch_bindings``.
"""
