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

__all__ = [
    "BODY_OPSET",
    "DIMENSIONS",
    "DOMAIN",
    "DOMAIN_VERSION",
    "Attribute",
    "OpDefinition",
    "Port",
]

DIMENSIONS = {
    "B": "rows of the step: one sequence each",
    "T": "tokens of the longest row of the step",
    "C": "channels of the convolution",
    "K": "taps of the convolution",
    "Hk": "key heads of the delta rule",
    "Hv": "value heads of the delta rule, a multiple of Hk",
    "Dk": "width of a key of the delta rule",
    "Dv": "width of a value of the delta rule",
    "Hq": "query heads of the attention, a multiple of Hkv",
    "Hkv": "key/value heads of the attention",
    "D": "width of a head of the attention",
    "R": "rotated components of a head, even and at most D",
    "capacity": "tokens a key/value cache has room for",
    "H": "width of a token, the hidden size",
    "E": "experts",
    "I": "width inside an expert or feed-forward",
    "Is": "width inside the shared expert",
    "Ki": "width of what a product reads",
    "No": "width of what a product gives",
    "Nt": "tiles of 16 rows of a quantized weight",
    "Kg": "groups of 32 inputs of a quantized weight",
    "Kb": "blocks of inputs with a scale of their own, each one or more groups",
    "It": "tiles of 16 rows of width I",
    "Ht": "tiles of 16 rows of width H",
    "Ig": "groups of 32 of width I",
    "Ib": "blocks of width I with a scale of their own",
    "dbits": "bits of a code of the down projections",
    "dS": "numbers of a block and row of the down projections",
    "st": "It of the shared expert",
    "sKg": "Kg of the shared expert",
    "sKb": "Kb of the shared expert",
    "sbits": "bits of the shared expert's gate and up rows",
    "sS": "S of the shared expert's gate and up rows",
    "sg": "Ig of the shared expert",
    "sb": "Ib of the shared expert",
    "sdbits": "bits of the shared expert's down projection",
    "sdS": "S of the shared expert's down projection",
    "S": "numbers of a block and row: 1, its scale, or 2, scale and offset",
    "bits": "bits of a code, 4 or 8: as many chunks of 64 bytes a tile's group takes",
}
"""What the dimensions in the shapes of ports are called."""


@dataclass(frozen=True)
class Port:
    """One input or output of an op.

    ``dtype`` is an ONNX element type in lower case (``float``, ``uint8``) or ``T`` for weights,
    which may be stored as float, float16 or bfloat16. ``shape`` names its dimensions.
    """

    name: str
    dtype: str
    shape: str
    doc: str


@dataclass(frozen=True)
class Attribute:
    """One attribute of an op, a ``float`` or an ``int``; without a default it is required."""

    dtype: str
    doc: str
    default: int | float | None = None


@dataclass(frozen=True)
class OpDefinition:
    """An op: its ports, its exact meaning, and the standard-ONNX body that carries it out.

    ``body`` is ONNX textual syntax. It is at once the specification in executable form, the
    fallback where no kernel of ours is loaded, and the oracle kernels are tested against.
    ``attributes`` are by name. ``in_place`` are the inputs, each with the output it becomes, whose
    buffers may be one where a kernel of ours runs the op; of a body nothing is said. ``float32``
    are the ports that stay so where activations are of two bytes, as they are on GPUs: there every
    other float port is of one dtype.
    """

    name: str
    doc: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    body: str
    attributes: dict[str, Attribute] = field(default_factory=dict)
    in_place: tuple[tuple[str, str], ...] = ()
    float32: tuple[str, ...] = ()

    def may_alias(self, read: int, written: int) -> bool:
        """Whether a kernel may find output ``written`` in the buffer of input ``read``."""
        return (self.inputs[read].name, self.outputs[written].name) in self.in_place

    @cached_property
    def function(self) -> onnx.FunctionProto:
        """The body as a checked ``FunctionProto`` of domain :data:`DOMAIN`."""
        declared = [
            name
            if attribute.default is None
            else f"{name}: {attribute.dtype} = {attribute.default}"
            for name, attribute in self.attributes.items()
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
