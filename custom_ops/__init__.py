"""The ``ai.deltaport`` operator domain: definitions, torch bindings, kernels and their adapters."""
