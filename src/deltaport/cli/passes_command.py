"""``deltaport passes``: the graph passes there are, and the order targets run them in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from deltaport.graph_passes.target_capabilities import TARGETS

from .installed import check_installed
from .options import json_option

if TYPE_CHECKING:
    from deltaport.graph_passes.graph_pass import GraphPass

__all__ = ["passes"]

_NEEDED = ("ml_dtypes", "onnx", "onnx_ir")


@click.command(
    short_help="List the graph passes, and the order in which targets run them.",
    epilog="""\b
Examples:
  deltaport passes
  deltaport passes fuse-projections
  deltaport passes --target ort-cpu
  deltaport passes --json
""",
)
@click.argument("name", required=False)
@click.option(
    "--target",
    type=click.Choice(list(TARGETS)),
    help="Show this target's pipeline alone.",
)
@json_option
def passes(name: str | None, target: str | None, as_json: bool) -> None:
    """List the passes an export runs over the traced graph, by what they are for.

    With the NAME of one, show all about it: what it rewrites, what it leaves alone, its options.
    Pipelines are shown as --passes of 'export' and 'replay' takes them.
    """
    if name is not None and target is not None:
        raise click.UsageError("give either NAME or --target")
    check_installed(_NEEDED, doing="listing passes", extra="export")
    from deltaport.graph_passes.pass_text import parse_pass
    from deltaport.graph_passes.registry import registered_passes

    from .console import write_json

    if name is not None:
        facts = _facts_of(type(parse_pass(name)))
        write_json(facts) if as_json else _print_pass(facts)
        return
    targets = list(TARGETS) if target is None else [target]
    listed = [] if target else [_facts_of(found) for found in registered_passes().values()]
    pipelines = {each: _pipeline_of(each) for each in targets}
    if as_json:
        write_json({"passes": listed, "pipelines": pipelines})
    else:
        _print_list(listed)
        _print_pipelines(pipelines)


def _facts_of(kind: type[GraphPass]) -> dict[str, Any]:
    import inspect

    from deltaport.graph_passes.pass_text import option_texts

    doc = inspect.getdoc(kind) or ""
    requires = vars(kind).get("requires")
    return {
        "name": kind.name,
        "folder": kind.__module__.split(".")[-2],
        "summary": doc.partition("\n")[0],
        "options": option_texts(kind),
        "requires": None if requires is None else inspect.getdoc(requires),
        "documentation": doc,
    }


def _pipeline_of(target: str) -> dict[str, Any]:
    from deltaport.graph_passes.pipeline import default_pipeline

    pipeline = default_pipeline(TARGETS[target])
    return {"passes": [found.name for found in pipeline], "text": pipeline.text}


def _print_list(listed: list[dict[str, Any]]) -> None:
    import importlib

    from deltaport import graph_passes

    from .console import print_table, write_text

    for folder in dict.fromkeys(row["folder"] for row in listed):
        module = importlib.import_module(f"{graph_passes.__name__}.{folder}")
        title = (module.__doc__ or "").partition("\n")[0]
        rows = [(_with_options(row), row["summary"]) for row in listed if row["folder"] == folder]
        print_table(f"{folder}: {title}", rows)
        write_text("\n")


def _with_options(row: dict[str, Any]) -> str:
    return str(row["name"]) + (f"{{{','.join(row['options'])}}}" if row["options"] else "")


def _print_pipelines(pipelines: dict[str, dict[str, Any]]) -> None:
    """Each on a line of its own, unbroken, to be copied."""
    from .console import write_text

    parts = [
        f"{target}: {TARGETS[target].summary}\n  {pipeline['text']}\n"
        for target, pipeline in pipelines.items()
    ]
    write_text("\n".join(parts))


def _print_pass(facts: dict[str, Any]) -> None:
    from .console import write_text

    parts = [f"{facts['name']} ({facts['folder']})", facts["documentation"]]
    if facts["requires"]:
        parts.append(f"Requires: {facts['requires']}")
    if facts["options"]:
        parts.append("Options: " + ", ".join(facts["options"]))
    write_text("\n\n".join(parts) + "\n")
