"""Our plugins, as TensorRT finds them."""

from __future__ import annotations

from pathlib import Path

from deltaport.custom_ops.definitions import DOMAIN, DOMAIN_VERSION
from deltaport.errors import InputError
from deltaport.exporter.tensorrt.tensorrt_library import TensorRt
from deltaport.graph_passes.lower.lower_to_tensorrt import PLUGINS

__all__ = ["load_plugins"]


def load_plugins(tensorrt: TensorRt, library: str) -> None:
    """Load the library; raises ``InputError`` where it has not every plugin our graphs call."""
    if not Path(library).is_file():
        raise InputError(f"--plugins {library}: there is no such file")
    registry = tensorrt.module.get_plugin_registry()
    if registry.load_library(library) is None:
        raise InputError(f"--plugins {library}: {tensorrt.flavour} cannot load it")
    for op in PLUGINS:
        if registry.get_creator(op, str(DOMAIN_VERSION), DOMAIN) is None:
            raise InputError(
                f"--plugins {library}: has no plugin {op} of version {DOMAIN_VERSION}; build it "
                "from the sources of this deltaport"
            )
