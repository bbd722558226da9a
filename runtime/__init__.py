"""Run engines: ``Engine`` opens a folder, ``Session`` carries the state of a few sequences.

``SamplingParams`` say how they go on, and ``Generation`` lets them join and leave on the way. Needs
numpy, onnxruntime and tokenizers; imports neither torch, onnx nor the exporter.
"""

from deltaport.runtime.completion import Completion, GeneratedToken
from deltaport.runtime.engine import Engine
from deltaport.runtime.generation import Generation
from deltaport.runtime.prefix_cache import PrefixCache, PrefixUsage
from deltaport.runtime.sampling_params import SamplingParams
from deltaport.runtime.session import Session
from deltaport.runtime.snapshot import Snapshot

__all__ = [
    "Completion",
    "Engine",
    "GeneratedToken",
    "Generation",
    "PrefixCache",
    "PrefixUsage",
    "SamplingParams",
    "Session",
    "Snapshot",
]
