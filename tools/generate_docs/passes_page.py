"""``docs/passes.md``: every graph pass, from its class, and the order targets run them in."""

from __future__ import annotations

import importlib
import textwrap

from deltaport import graph_passes
from deltaport.graph_passes.graph_pass import GraphPass
from deltaport.graph_passes.pass_text import option_texts
from deltaport.graph_passes.pipeline import default_pipeline
from deltaport.graph_passes.registry import registered_passes
from deltaport.graph_passes.target_capabilities import TARGETS
from tools.generate_docs.markdown import code, docstring, fence, generated, table

__all__ = ["passes_page"]


def passes_page() -> str:
    """The whole page."""
    parts = [
        generated("Graph passes", "graph_passes"),
        "A pass takes the graph and returns it with whether it changed it. Where it finds what "
        "must not be, it\nraises `PassError`, which is a bug of ours unless the passes were chosen "
        "by hand. How to write one:\n[contributing](contributing.md#add-a-pass). How to look at "
        "what each does: [export](export.md#passes).",
        "## Targets",
        table(("target", ""), ((code(name), row.summary) for name, row in TARGETS.items())),
        "What each runs, as `--passes` takes it: clean up what tracing leaves, fold and fuse, all "
        "alike; lower\nto the target; prove the result sound.",
    ]
    for target, capabilities in TARGETS.items():
        parts += [f"### Target {target}", fence(_in_lines(default_pipeline(capabilities).text))]
    folders: dict[str, list[type[GraphPass]]] = {}
    for found in registered_passes().values():
        folders.setdefault(found.__module__.split(".")[-2], []).append(found)
    for folder, classes in folders.items():
        module = importlib.import_module(f"{graph_passes.__name__}.{folder}")
        parts += [f"## {folder.capitalize()}", docstring(module)]
        for found in classes:
            parts += [f"### {found.name}", *_section(found)]
    return "\n\n".join(parts) + "\n"


def _in_lines(pipeline: str) -> str:
    """The text broken between passes, which ``--passes`` takes just as well."""
    spaced = pipeline.replace(",", ", ")
    return textwrap.fill(spaced, 100, break_on_hyphens=False).replace(", ", ",")


def _section(found: type[GraphPass]) -> list[str]:
    parts = [docstring(found)]
    if "requires" in vars(found):
        parts.append(f"Requires: {docstring(found.requires)}")
    if options := option_texts(found):
        parts.append(f"Options: {', '.join(map(code, options))}")
    return parts
