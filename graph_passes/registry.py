"""All passes there are, by name."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from types import MappingProxyType

from deltaport import graph_passes
from deltaport.graph_passes.graph_pass import GraphPass

__all__ = ["registered_passes"]


@cache
def registered_passes() -> MappingProxyType[str, type[GraphPass]]:
    """Every pass by its name, in the order of folders and files.

    A pass is found by being there: a class in a file of its own, in a folder of this package, the
    file named as the pass with underscores.
    """
    found: dict[str, type[GraphPass]] = {}
    for folder in pkgutil.iter_modules(graph_passes.__path__, f"{graph_passes.__name__}."):
        if not folder.ispkg:
            continue
        package = importlib.import_module(folder.name)
        for module in pkgutil.iter_modules(package.__path__, f"{folder.name}."):
            for name, each in _passes_of(module.name).items():
                if name in found:
                    raise RuntimeError(f"{name} is the name of two passes: {found[name]}, {each}")
                found[name] = each
    return MappingProxyType(found)


def _passes_of(module_name: str) -> dict[str, type[GraphPass]]:
    module = importlib.import_module(module_name)
    found = {
        value.name: value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, GraphPass)
        and value.__module__ == module_name
    }
    file_name = module_name.rpartition(".")[2]
    if any(name.replace("-", "_") != file_name for name in found):
        raise RuntimeError(f"{module_name}: holds {', '.join(found)}; expected {file_name}")
    return found
