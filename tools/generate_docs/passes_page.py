"""``docs/passes.md``: every graph pass, from its class, and the order targets run them in."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import onnx_ir as ir

from deltaport import graph_passes
from deltaport.graph_passes.pipeline import default_pipeline
from deltaport.graph_passes.target_capabilities import TARGETS
from deltaport.state_layout import StateLayout
from tools.generate_docs.markdown import code, docstring, generated, table

__all__ = ["every_pass", "passes_page"]


def every_pass() -> dict[str, type[ir.passes.PassBase]]:
    """All passes of ours by name, in the order of their folders and files."""
    found: dict[str, type[ir.passes.PassBase]] = {}
    for module in _modules():
        for value in vars(module).values():
            if (
                isinstance(value, type)
                and issubclass(value, ir.passes.PassBase)
                and value.__module__ == module.__name__
            ):
                found[_name(value)] = value
    return found


def passes_page() -> str:
    """The whole page."""
    parts = [
        generated("Graph passes", "graph_passes"),
        "A pass takes the graph and returns it with whether it changed it. Where it finds what "
        "must not be, it\nraises `PassError`, which is a bug of ours and never the user's. How to "
        "write one:\n[contributing](contributing.md#add-a-pass).",
        "## Order",
    ]
    for target, capabilities in TARGETS.items():
        passes = default_pipeline(StateLayout(()), capabilities).passes
        names = [_link(type(found)) for found in passes]
        numbered = [f"{i}. {name}" for i, name in enumerate(names, 1)]
        parts += [f"Target `{target}`:", "\n".join(numbered)]
    folders: dict[str, list[type[ir.passes.PassBase]]] = {}
    for found in every_pass().values():
        folders.setdefault(found.__module__.split(".")[-2], []).append(found)
    for folder, classes in folders.items():
        module = importlib.import_module(f"{graph_passes.__name__}.{folder}")
        parts += [f"## {folder.capitalize()}", docstring(module)]
        for found in classes:
            parts += [f"### {_name(found)}", docstring(found)]
    parts += [
        "## Targets",
        table(("target", ""), ((code(name), row.summary) for name, row in TARGETS.items())),
    ]
    return "\n\n".join(parts) + "\n"


def _modules() -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(graph_passes.__path__, graph_passes.__name__ + "."):
        yield importlib.import_module(found.name)


def _name(found: type[ir.passes.PassBase]) -> str:
    return str(getattr(found, "name", found.__name__))


def _link(found: type[ir.passes.PassBase]) -> str:
    """One of ours with a link; one of onnx_ir by its class."""
    name = _name(found)
    if found.__module__.startswith(graph_passes.__name__):
        return f"[{name}](#{name})"
    return f"`{found.__name__}` of onnx_ir"
