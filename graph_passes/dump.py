"""Graphs as text and back: ONNX's own syntax, with recipes in place of weights."""

from __future__ import annotations

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import ClearMetadataAndDocStringPass

from deltaport.errors import InputError
from deltaport.graph_passes.onnx_text import parse_text, proto_text
from deltaport.graph_passes.quantize.weight_tags import format_of, set_format
from deltaport.graph_passes.recipes.parse_recipe import MOST_PARTS, RecipeProblem, parse_recipe
from deltaport.graph_passes.recipes.recipe import Recipe
from deltaport.graph_passes.recipes.recipe_tensor import RecipeTensor
from deltaport.graph_passes.untrusted_graph import check_graph
from deltaport.strict_json import quote
from deltaport.weight_format import WeightFormat, parse_format

__all__ = ["DUMP_SUFFIX", "dump_file_name", "from_text", "to_text"]

DUMP_SUFFIX = ".onnxtxt"
RECIPE = "recipe"
"""The key under which a weight's ``external_data`` hold its recipe, and what they name as file."""
FORMAT = "format"
"""The key of the format that was chosen for a weight, if one was."""


def dump_file_name(index: int, pass_name: str) -> str:
    """``03-fuse-projections.onnxtxt``, so that files are listed in the order of the passes."""
    return f"{index:02}-{pass_name}{DUMP_SUFFIX}"


def to_text(model: ir.Model) -> str:
    """The graph, its functions and the model's metadata; :func:`from_text` reads them back.

    Left out are documentation, the metadata of nodes, where the trace keeps call stacks, and of
    values, but for formats of weights, and the types of values inside functions.
    """
    formats = {name: format_of(value) for name, value in model.graph.initializers.items()}
    copy = model.clone()
    ClearMetadataAndDocStringPass()(copy)
    recipes: dict[str, Recipe] = {}
    for name, value in copy.graph.initializers.items():
        if isinstance(value.const_value, RecipeTensor):
            recipes[name] = value.const_value.recipe
            value.const_value = _in_a_file(value.const_value)
    proto = ir.to_proto(copy)
    for tensor in proto.graph.initializer:
        if tensor.name in recipes:
            tensor.external_data.add(key=RECIPE, value=recipes[tensor.name].describe())
            if (chosen := formats[tensor.name]) is not None:
                tensor.external_data.add(key=FORMAT, value=str(chosen))
    _drop_repeated_types(proto.graph)
    return proto_text(proto)


def from_text(text: str, source: str) -> ir.Model:
    """The graph whose text :func:`to_text` gives, or that somebody wrote: it is untrusted.

    Raises ``InputError``, which names ``source``, for what is not ONNX text or not a valid model,
    for weights whose recipe does not give what is declared, and for weights in files.
    """
    proto = parse_text(text, source)
    names = [tensor.name for tensor in proto.graph.initializer]
    formats = {tensor.name: _format(tensor, source) for tensor in proto.graph.initializer}
    recipes = _take_weights(proto.graph, source)
    check_graph(proto, source)
    model = ir.from_proto(proto)
    graph = model.graph
    values = {value.name: value for value in (*graph.initializers.values(), *graph.inputs)}
    graph.initializers.clear()
    for name in names:  # in the order of the text, which is that of weights in their file
        value = values[name]
        if name in recipes:
            graph.inputs.remove(value)
            value.const_value = RecipeTensor(recipes[name], name)
            set_format(value, formats[name])
        graph.register_initializer(value)
    return model


def _drop_repeated_types(graph: onnx.GraphProto) -> None:
    """Initializers say themselves of what dtype and shape they are."""
    known = {tensor.name for tensor in graph.initializer}
    kept = [value for value in graph.value_info if value.name not in known]
    del graph.value_info[:]
    graph.value_info.extend(kept)


def _in_a_file(weight: RecipeTensor) -> ir.ExternalTensor:
    """What a serializer takes as it is, where it would ask a weight for its value."""
    shape = ir.Shape(weight.recipe.shape)
    return ir.ExternalTensor(RECIPE, None, None, weight.dtype, shape=shape, name=weight.name or "")


def _take_weights(graph: onnx.GraphProto, source: str) -> dict[str, Recipe]:
    """Recipes by name; the weights become inputs, so that nobody looks for a file."""
    recipes: dict[str, Recipe] = {}
    parts_left = MOST_PARTS
    constants = []
    for tensor in graph.initializer:
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            constants.append(tensor)
            continue
        recipe = recipes[tensor.name] = _recipe(tensor, parts_left, source)
        parts_left -= recipe.part_count()
        graph.input.append(
            onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )
    del graph.initializer[:]
    graph.initializer.extend(constants)
    return recipes


def _format(tensor: onnx.TensorProto, source: str) -> WeightFormat | None:
    """The format that was chosen for a weight, if one was."""
    text = next((entry.value for entry in tensor.external_data if entry.key == FORMAT), None)
    try:
        return None if text is None else parse_format(text)
    except ValueError as error:
        raise InputError(f"{source}: weight {quote(tensor.name)}: format {error}") from None


def _recipe(tensor: onnx.TensorProto, most_parts: int, source: str) -> Recipe:
    where = f"{source}: weight {quote(tensor.name)}"
    given = [(entry.key, entry.value) for entry in tensor.external_data if entry.key != FORMAT]
    if [key for key, _ in given] != ["location", RECIPE] or given[0][1] != RECIPE:
        raise InputError(
            f'{where}: expected "location": "{RECIPE}", a "{RECIPE}" and perhaps a "{FORMAT}"; '
            "dumps refer to no files"
        )
    try:
        recipe = parse_recipe(given[1][1], most_parts=most_parts)
    except RecipeProblem as problem:
        raise InputError(f"{where}: recipe {problem}") from None
    dtype = ir.DataType.from_numpy(recipe.dtype)
    if (tensor.data_type, tuple(tensor.dims)) != (dtype.value, recipe.shape):
        declared = ir.DataType(tensor.data_type).name.lower()
        raise InputError(
            f"{where}: its recipe gives {dtype.name.lower()}{list(recipe.shape)}, declared is "
            f"{declared}{list(tensor.dims)}"
        )
    return recipe
