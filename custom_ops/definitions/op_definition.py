"""What every custom-op definition is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import onnx.parser

from deltaport.custom_op_version import OP_LIBRARY_VERSION

DOMAIN = "ai.deltaport"
DOMAIN_VERSION = OP_LIBRARY_VERSION
BODY_OPSET = 24
"""Function bodies use standard ONNX of this opset and nothing else."""

__all__ = ["BODY_OPSET", "DOMAIN", "DOMAIN_VERSION", "OpDefinition", "Port"]


@dataclass(frozen=True)
class Port:
    """One input or output of an op.

    ``dtype`` is an ONNX element type in lower case (``float``, ``int64``) or ``T`` for weights,
    which may be stored as float, float16 or bfloat16. ``shape`` names its dimensions.
    """

    name: str
    dtype: str
    shape: str
    doc: str


@dataclass(frozen=True)
class OpDefinition:
    """An op: its ports, its exact meaning, and the standard-ONNX body that carries it out.

    ``body`` is ONNX textual syntax. It is at once the specification in executable form, the
    fallback where no kernel of ours is loaded, and the oracle kernels are tested against.
    ``attributes`` maps each attribute to its default; ``None`` marks a required one.
    """

    name: str
    doc: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    body: str
    attributes: dict[str, int | float | None] = field(default_factory=dict)

    @cached_property
    def function(self) -> onnx.FunctionProto:
        """The body as a checked ``FunctionProto`` of domain :data:`DOMAIN`."""
        declared = [
            name
            if default is None
            else f"{name}: {'float' if isinstance(default, float) else 'int'} = {default}"
            for name, default in self.attributes.items()
        ]
        attributes = f"<{', '.join(declared)}> " if declared else ""
        text = (
            f'<domain: "{DOMAIN}", opset_import: ["": {BODY_OPSET}]>\n'
            f"{self.name} {attributes}({', '.join(port.name for port in self.inputs)})"
            f" => ({', '.join(port.name for port in self.outputs)})\n{{\n{self.body}\n}}"
        )
        function = onnx.parser.parse_function(text)
        function.doc_string = self.doc
        return function
