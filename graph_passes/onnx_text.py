"""ONNX's textual syntax, written and read, with what its printer and parser lack."""

from __future__ import annotations

import re

import onnx
import onnx.parser
import onnx.printer

from deltaport.errors import InputError
from deltaport.strict_json import one_line

__all__ = ["parse_text", "proto_text"]

_DEEPEST = 50
_WORD = re.compile(
    r'"(?:[^"\\]|\\.)*"|#[^\n]*|=>|[(<\[{]\s*|[)>\]}]|,\s*|[^"#=(<\[{)>\]},]+|.', re.DOTALL
)
_SIGNATURE = re.compile(r"^(?P<name>.+?) (?:<(?P<required>[^>]*)>)?\((?=.*=> \()", re.MULTILINE)
_POSITION = re.compile(r"\(line: (\d+) column: (\d+)\)\]")


def proto_text(proto: onnx.ModelProto) -> str:
    """The model as text, every input, output and initializer of the graph on a line of its own.

    Documentation, the metadata of anything but the model, and types of values inside functions
    have no place in the syntax.
    """
    alone = onnx.ModelProto()
    alone.CopyFrom(proto)
    del alone.functions[:]
    return _in_lines(onnx.printer.to_text(alone)) + "".join(map(_function_text, proto.functions))


def parse_text(text: str, source: str) -> onnx.ModelProto:
    """The model; raises ``InputError``, naming ``source`` and the place, for what is no model."""
    _check_nesting(text, source)
    try:
        return onnx.parser.parse_model(text)
    except onnx.parser.ParseError as error:
        raise InputError(f"{source}: {_said(error)}") from None
    except (IndexError, RuntimeError, TypeError, ValueError) as error:
        # Numbers out of range and the like, for which the parser tells no place.
        reason = one_line(str(error).partition("\n")[0])[:200]
        raise InputError(f"{source}: no ONNX text: {reason}") from None


def _in_lines(text: str) -> str:
    """All that stands before the nodes of the graph, broken where its lists have their commas."""
    lines: list[str] = []
    depth, end = 0, 0
    for word in _WORD.finditer(text):
        first = word[0][0]
        if first == "{" and depth == 0:
            break
        depth += (first in "(<[{") - (word[0] in (")", ">", "]", "}"))
        lines.append(f"{first}\n   " if depth == 1 and first in "(<," else word[0])
        end = word.end()
    return "".join(lines) + text[end:]


def _function_text(function: onnx.FunctionProto) -> str:
    """A function with the defaults of its attributes, which ONNX's printer leaves out."""
    text = onnx.printer.to_text(function)
    if not function.attribute_proto:
        return text
    signature = _SIGNATURE.search(text)
    assert signature is not None, "a function has a name, inputs and outputs"
    declared = [*filter(None, [signature["required"]]), *map(_default, function.attribute_proto)]
    head = f"{signature['name']} <{', '.join(declared)}>("
    return text[: signature.start()] + head + text[signature.end() :]


def _default(attribute: onnx.AttributeProto) -> str:
    """``eps: float = 1e-06``, as the printer shows the attribute of a node."""
    node = onnx.NodeProto(op_type="N", attribute=[attribute])
    return onnx.printer.to_text(onnx.GraphProto(node=[node])).partition("<")[2].rpartition(">")[0]


def _check_nesting(text: str, source: str) -> None:
    """Refuse brackets within brackets without end: the parser recurses until it crashes."""
    depth = 0
    for word in _WORD.finditer(text):
        depth += (word[0][0] in "({") - (word[0] in (")", "}"))
        if depth > _DEEPEST:
            line = text.count("\n", 0, word.start()) + 1
            raise InputError(f"{source}: line {line}: nested too deeply to be a real graph")


def _said(error: onnx.parser.ParseError) -> str:
    """``line 3, column 7: Expected character ) not found.``, of what the parser says."""
    said = error.args[0].decode(errors="replace") if error.args else ""
    reason = one_line(said.strip().rpartition("\n")[2])[:200]
    place = _POSITION.search(said)
    return f"line {place[1]}, column {place[2]}: {reason}" if place else f"no ONNX text: {reason}"
