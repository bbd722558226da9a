"""``docs/custom-ops.md``: the specification of every op, from its definition."""

from __future__ import annotations

import importlib
import pkgutil
import textwrap
from types import ModuleType

from deltaport.custom_ops import definitions
from deltaport.custom_ops.definitions import (
    BODY_OPSET,
    DEFINITIONS,
    DIMENSIONS,
    DOMAIN,
    DOMAIN_VERSION,
    OpDefinition,
    Port,
)
from tools.generate_docs.markdown import code, docstring, fence, generated, table

__all__ = ["ops_page"]


_RULES = """\
- Tokens of a row are padded to the right. `lengths[b]` of a row's T tokens are real, and may be 0:
  then the row's state is untouched. What padded tokens hold, NaN included, changes nothing. An op
  without `lengths` mixes no tokens: a padded one is like any other there.
- State goes in as one input and comes out as one output. A row's new state depends on that row
  alone.
- Type `T` is `float`, `float16` or `bfloat16`, as the weights are stored; all is computed in
  float32."""


def ops_page() -> str:
    """The whole page."""
    listed = table(
        ("op", ""),
        (
            (f"[{name}](#{name.lower()})", docstring(_module_of(op)).partition("\n")[0])
            for name, op in DEFINITIONS.items()
        ),
    )
    dimensions = table(("", ""), ((code(name), doc) for name, doc in DIMENSIONS.items()))
    parts = [
        generated("Custom ops", "custom_ops/definitions"),
        f"Domain `{DOMAIN}`, version {DOMAIN_VERSION}. Every op comes with a body in standard ONNX "
        f"(opset {BODY_OPSET}),\nwhich is the specification in executable form, the fallback where "
        "no kernel of ours is loaded, and\nthe oracle a kernel is tested against. Why the bodies "
        "are as they are: [architecture](architecture.md#custom-ops).",
        listed,
        "Every op keeps to these rules:",
        _RULES,
        "## Dimensions",
        dimensions,
        *(_section(op) for op in DEFINITIONS.values()),
    ]
    return "\n\n".join(parts) + "\n"


def _module_of(op: OpDefinition) -> ModuleType:
    for found in pkgutil.iter_modules(definitions.__path__, definitions.__name__ + "."):
        module = importlib.import_module(found.name)
        if any(value is op for value in vars(module).values()):
            return module
    raise LookupError(op.name)


def _section(op: OpDefinition) -> str:
    attributes = [
        (
            code(name),
            code(attribute.dtype),
            "required" if attribute.default is None else code(f"{attribute.default}"),
            attribute.doc,
        )
        for name, attribute in op.attributes.items()
    ]
    parts = [
        f"## {op.name}",
        docstring(_module_of(op)),
        fence(op.doc),
        table(("input", "type", "shape", ""), map(_row, op.inputs)),
        table(("output", "type", "shape", ""), map(_row, op.outputs)),
    ]
    if attributes:
        parts.append(table(("attribute", "type", "default", ""), attributes))
    body = fence(_tidy(op.body))
    parts.append(f"<details><summary>Body</summary>\n\n{body}\n\n</details>")
    return "\n\n".join(parts)


def _row(port: Port) -> tuple[str, str, str, str]:
    return code(port.name), code(port.dtype), code(f"[{port.shape}]"), port.doc


def _tidy(body: str) -> str:
    """The body as it is, less its margin and repeated empty lines."""
    lines = textwrap.dedent(body).strip("\n").splitlines()
    kept = [
        line.rstrip()
        for before, line in zip(["", *lines], lines, strict=False)
        if line.strip() or before.strip()
    ]
    return "\n".join(kept)
