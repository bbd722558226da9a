"""Graphs as text: nothing that matters is lost on the way there and back, nothing bad gets in."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest

from deltaport.errors import InputError
from deltaport.exporter.bind_weights import bind_weights
from deltaport.exporter.export_plan import checked
from deltaport.exporter.trace import trace
from deltaport.graph_passes.decoder_layout import layout_of
from deltaport.graph_passes.dump import dump_file_name, from_text, to_text
from deltaport.graph_passes.lower.attach_function_bodies import AttachFunctionBodies
from deltaport.graph_passes.pipeline import parse_pipeline
from deltaport.graph_passes.quantize.choose_formats import ChooseFormats
from deltaport.graph_passes.quantize.weight_tags import format_of
from deltaport.graph_passes.recipes.layout_recipes import Transpose
from deltaport.graph_passes.recipes.recipe_tensor import RecipeTensor
from tests.checkpoints import save_checkpoint
from tests.passes.graph_text import HEADER, parse_graph, weight

SOURCE = "graphs/03.onnxtxt"


@pytest.fixture(scope="module", params=["dense", "moe"])
def traced(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ir.Model:
    """A whole decoder as it was traced, with the bodies of its ops; not to be changed."""
    folder = tmp_path_factory.mktemp(request.param)
    save_checkpoint(folder, kind=request.param, per_expert=request.param == "moe")
    with checked(folder, dtype="bfloat16", accept_fields=()) as checkpoint:
        model = trace(checkpoint.spec, checkpoint.storage)
        bind_weights(model.graph, checkpoint.binding.recipes)
    AttachFunctionBodies()(model)
    return model


def plain(model: ir.Model) -> onnx.ModelProto:
    """The model less what no text has a place for; tensors, by whatever field, as raw data."""
    copy = model.clone()
    for value in copy.graph.initializers.values():
        if isinstance(value.const_value, RecipeTensor):  # compared apart
            value.const_value = ir.tensor([0.0], name=value.name)
    proto = ir.to_proto(copy)
    for graph in (proto.graph, *proto.functions):
        graph.doc_string = ""
        del graph.metadata_props[:]
        for node in nodes_of(graph):
            node.doc_string = ""
            del node.metadata_props[:]
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.TENSOR:
                    array = onnx.numpy_helper.to_array(attribute.t)
                    attribute.t.CopyFrom(onnx.numpy_helper.from_array(array))
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        del value.metadata_props[:]
    for function in proto.functions:
        del function.value_info[:]
    for tensor in proto.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    return proto


def nodes_of(graph: onnx.GraphProto | onnx.FunctionProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                attribute.g.doc_string = ""
                del attribute.g.metadata_props[:]
                yield from nodes_of(attribute.g)


def recipes(model: ir.Model) -> dict[str, object]:
    weights = model.graph.initializers.items()
    return {
        name: value.const_value.recipe
        for name, value in weights
        if isinstance(value.const_value, RecipeTensor)
    }


def assert_same(model: ir.Model, again: ir.Model) -> None:
    assert recipes(model) == recipes(again)
    assert list(model.graph.initializers) == list(again.graph.initializers)
    assert plain(model) == plain(again)


class TestRoundTrip:
    def test_a_whole_decoder(self, traced: ir.Model) -> None:
        text = to_text(traced)
        again = from_text(text, SOURCE)
        assert_same(traced, again)
        assert layout_of(again) == layout_of(traced)
        assert to_text(again) == text
        assert len(recipes(again)) > 40

    def test_the_model_is_left_as_it_was(self, traced: ir.Model) -> None:
        before = plain(traced), recipes(traced), [dict(n.metadata_props) for n in traced.graph]
        to_text(traced)
        after = plain(traced), recipes(traced), [dict(n.metadata_props) for n in traced.graph]
        assert before == after

    def test_call_stacks_stay_out(self, traced: ir.Model) -> None:
        assert any("stack_trace" in key for node in traced.graph for key in node.metadata_props)
        text = to_text(traced)
        assert "stack_trace" not in text
        assert ".py" not in text

    def test_a_line_for_everything(self, traced: ir.Model) -> None:
        lines = to_text(traced).splitlines()
        [norm] = [line for line in lines if line.startswith('   float[64] "model.norm.weight"')]
        assert norm == (
            '   float[64] "model.norm.weight" = '
            '["location": "recipe", "recipe": "model.norm.weight:float32[64]"],'
        )
        assert "   int64[3,batch,tokens] positions," in lines
        assert '   float[batch,2,capacity,32] "past.3.key",' in lines
        assert lines.index("{") > len(recipes(traced))

    @pytest.mark.parametrize(
        "text",
        [
            "g (float[B,3] x) => (float[B,?] y) { [a_name] y = Relu(x) }",
            'g (float[B,3] x) => (float[B,3] y) <float["B*T + 1",3] h, bfloat16[] k, int64 l>'
            " { h = Relu(x) k = Cast<to = 16>(x) l = Size(x) y = Relu(h) }",
            "g (float[N] x) => (float[N] y) { y = F.g<a = 0.1, b = -inf, c = [1e-30, nan], d = -3,"
            ' e = [1, 2], f = "a\\"b\\\\c", g = ["", "é"], h: ints = []>(x) }',
            'g (float[N] "a.b c{(<") => (float[N] "1,2") { "1,2", "" = F.g("a.b c{(<", "") }',
            "g (bool c, float[N] x) => (float[N] y) { y = If(c) <"
            "then_branch = t () => (float[N] p) { p = Relu(x) },"
            "else_branch = e () => (float[N] q) { q = F.g(x) }> }",
        ],
        ids=["names", "shapes", "attributes", "odd names", "subgraphs"],
    )
    def test_parts_of_the_syntax(self, text: str) -> None:
        header = HEADER.format(opset=24).replace("1]", '1, "F": 1]')
        model = ir.from_proto(onnx.parser.parse_model(header + text))
        again = from_text(to_text(model), SOURCE)
        assert_same(model, again)
        assert to_text(again) == to_text(model)

    @pytest.mark.parametrize(
        "array",
        [
            np.array([1.5, 0.1, 1e-45, -0.0, np.inf, -np.inf, np.nan], np.float32),
            np.array([1 / 3, 1e300]),
            np.array([65504, 1 / 3], np.float16),
            np.array(1 / 3, ml_dtypes.bfloat16),
            np.array([[1, 2], [3, 2**62]], np.int64),
            np.array([-7], np.int32),
            np.array([True, False]),
            np.array([255], np.uint8),
            np.zeros((0, 2), np.float32),
        ],
        ids=lambda array: array.dtype.name,
    )
    def test_constants(self, array: np.ndarray) -> None:
        model = parse_graph("g (float[N] x) => (float[N] y) { y = Relu(x) }")
        tensor = ir.tensor(array, name="c")
        value = ir.Value(
            name="c", type=ir.TensorType(tensor.dtype), shape=tensor.shape, const_value=tensor
        )
        model.graph.register_initializer(value)
        model.graph.insert_before(model.graph[0], ir.node("Constant", [], {"value": tensor}))
        again = from_text(to_text(model), SOURCE)
        inside = again.graph[0].attributes["value"].as_tensor()
        for kept in (again.graph.initializers["c"].const_value, inside):
            assert kept is not None
            assert kept.dtype == tensor.dtype
            assert kept.numpy().tobytes() == array.tobytes()
            assert tuple(kept.shape) == array.shape

    def test_functions_keep_the_defaults_of_their_attributes(self) -> None:
        functions = """<domain: "F", opset_import: ["": 24]>
            one <must, eps: float = 1e-06, name: string = "a<b(c", axes: ints = [1, 2]> (a) => (b)
            { b = Relu(a) }
            <domain: "F", opset_import: ["": 24, "F": 1]>
            two <k: int = 3> (a) => (b) { b = F.one<must: int = @k>(a) }"""
        header = HEADER.format(opset=24).replace("1]", '1, "F": 1]')
        graph = "g (float[N] x) => (float[N] y) { y = F.two(x) }\n"
        model = ir.from_proto(onnx.parser.parse_model(header + graph + functions))
        again = from_text(to_text(model), SOURCE)
        assert_same(model, again)
        assert plain(again).functions[0].attribute_proto[0].f == np.float32(1e-6)

    def test_weights_stay_where_they_were(self) -> None:
        model = parse_graph(
            "g (float[N,3] x, float[3,4] w) => (float[N,4] y) <float[1] c = {2}>"
            " { h = MatMul(x, w) y = Mul(h, c) }",
            {"w": Transpose(weight('a "name"', 4, 3), (1, 0))},
        )
        text = to_text(model)
        assert 'transpose(\\"a \\\\\\"name\\\\\\"\\":float32[4,3], perm=(1, 0))' in text
        again = from_text(text, SOURCE)
        assert_same(model, again)
        assert [value.name for value in again.graph.inputs] == ["x"]
        assert list(again.graph.initializers) == ["c", "w"]


def test_file_names_sort_as_passes_run() -> None:
    assert dump_file_name(0, "traced") == "00-traced.onnxtxt"
    names = [dump_file_name(i, "p") for i in range(40)]
    assert sorted(names) == names


GRAPH = "g (float[N,3] x) => (float[N,4] y)\n<{}>\n{{ y = MatMul(x, w) }}"
RECIPE = '"location": "recipe", "recipe": "{}"'
GOOD = f"float[3,4] w = [{RECIPE.format('a:float32[3,4]')}]"

REFUSED = {
    "nothing": ("", "line 1, column 1: Identifier expected"),
    "no closing bracket": (
        GRAPH.format(GOOD)[:-1],
        "line 4, column 20: Expected character = not found.",
    ),
    "text behind it": (GRAPH.format(GOOD) + " x", "Expected character ( not found"),
    "a number too large": (GRAPH.format(GOOD.replace("3,4] w", "9" * 30 + "] w")), "no ONNX text"),
    "a recipe that is none": (
        GRAPH.format(f"float[3,4] w = [{RECIPE.format('transpos(a)')}]"),
        "weight 'w': recipe at character 1 ('transpos(a)'): expected one of asint8, ",
    ),
    "a recipe of another shape": (
        GRAPH.format(GOOD.replace("float32[3,4]", "float32[4,3]")),
        "weight 'w': its recipe gives float[4, 3], declared is float[3, 4]",
    ),
    "a recipe of another dtype": (
        GRAPH.format(GOOD.replace("float[3,4] w", "float16[3,4] w")),
        "its recipe gives float[3, 4], declared is float16[3, 4]",
    ),
    "a weight in a file": (
        GRAPH.format('float[3,4] w = ["location": "/etc/passwd", "recipe": "a:float32[3,4]"]'),
        'weight \'w\': expected "location": "recipe"',
    ),
    "a weight without a recipe": (
        GRAPH.format('float[3,4] w = ["location": "recipe", "offset": "0"]'),
        'expected "location": "recipe", a "recipe" and perhaps a "format"; dumps refer to no files',
    ),
    "a format that is none": (
        GRAPH.format(GOOD.replace(']"]', ']", "format": "int3"]')),
        "weight 'w': format is 'int3', expected int4 or int8",
    ),
    "a file in a subgraph": (
        "g (bool c, float[N] x) => (float[N] y) { y = If(c) <"
        'then_branch = t () => (float[N] p) <float[1] w = ["location": "/etc/passwd"]>'
        " { p = Add(x, w) }, else_branch = e () => (float[N] q) { q = Relu(x) }> }",
        "tensor 'w': refers to a file; only weights of the main graph have recipes",
    ),
    "data of another size": (
        GRAPH.format("float[3,4] w = {1, 2}"),
        "tensor 'w': holds other data than it declares: ",
    ),
    "a value nobody makes": (
        "g (float[N] x) => (float[N] y) { y = Add(x, z) }",
        "no valid graph: Nodes in a graph must be topologically sorted",
    ),
    "a value made twice": (
        "g (float[N] x) => (float[N] y) { y = Relu(x) y = Relu(x) }",
        "no valid graph: Graph must be in single static assignment",
    ),
    "a weight declared twice": (GRAPH.format(f"{GOOD}, {GOOD}"), "no valid graph: "),
    "axes that are none": (
        "g (float[N,3] x) => (float[3,N] y) { y = Transpose<perm = [1, 2]>(x) }",
        "no valid graph: [ShapeInferenceError] ",
    ),
    "types that do not fit": (
        "g (float[N] x, int64[N] z) => (float[N] y) { y = Add(x, z) }",
        "no valid graph: [ShapeInferenceError] (op_type:Add): B has inconsistent type",
    ),
    "an op ONNX does not have": (
        "g (float[N] x) => (float[N] y) { y = Rely(x) }",
        "no valid graph: No Op registered for Rely",
    ),
    "a domain nobody imports": (
        "g (float[N] x) => (float[N] y) { y = other.Op(x) }",
        "no valid graph: No opset import for domain",
    ),
    "types nested without end": (
        f"g ({'seq(' * 100_000}float{')' * 100_000} x) => (float[N] y) {{ y = Relu(x) }}",
        "line 2: nested too deeply to be a real graph",
    ),
    "graphs nested without end": (
        "g (float x) => (float y) {" + "y = If(x) <then_branch = a () => (float z) {" * 10_000,
        "line 2: nested too deeply to be a real graph",
    ),
    "brackets hidden in a comment": (
        f"g (float x) # {')' * 200_000}\n => ({'seq(' * 100_000}",
        "line 3: nested too deeply to be a real graph",
    ),
}


@pytest.mark.parametrize(("text", "problem"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_graph_is_refused(text: str, problem: str) -> None:
    with pytest.raises(InputError, match=re.escape(problem)) as refused:
        from_text(HEADER.format(opset=24) + text if text else "", SOURCE)
    message = str(refused.value)
    assert message.startswith(f"{SOURCE}: ")
    assert message.isprintable()
    assert len(message) < 600


def test_memory_of_all_weights_is_bounded() -> None:
    text = RECIPE.format("concat(i=0..299999: a{i}:float32[1], axis=0)")
    weights = ", ".join(f"float[300000] w{i} = [{text}]" for i in range(4))
    graph = f"g (float[N] x) => (float[N] y) <{weights}> {{ y = Relu(x) }}"
    with pytest.raises(InputError, match=r"weight 'w3': recipe .* more parts before it than any"):
        from_text(HEADER.format(opset=24) + graph, SOURCE)


def refusal(text: str) -> str | None:
    try:
        to_text(from_text(text, SOURCE))
    except InputError as error:
        return str(error)
    return None


def test_damaged_dumps_are_refused_or_read() -> None:
    """Whatever is done to a text, it is a graph again or an ``InputError`` of one line."""
    text = to_text(
        parse_graph(
            "g (bool c, float[B,3] x, float[3,4] w) => (float[B,4] y) <float[1] k = {0.5}>"
            " { h = MatMul(x, w) y = If(c)"
            " <then_branch = t () => (float[B,4] p) { p = Mul(h, k) },"
            " else_branch = e () => (float[B,4] q) { q = ai.deltaport.SwiGLU(h) }> }",
            {"w": Transpose(weight("a", 4, 3), (1, 0))},
        )
    )
    assert to_text(from_text(text, SOURCE)) == text
    rng = random.Random(5)
    pieces = [*'[]{}()<>,:="\\.#-+e \n\0é', "99999999999999999999", "nan", "seq(float)", '""', ""]
    outcomes = {True: 0, False: 0}
    for _ in range(3000):
        damaged = text
        for _ in range(rng.choice([1, 1, 1, 2])):
            at = rng.randrange(len(damaged))
            until = at + rng.choice([0, 1, 1, rng.randrange(40)])
            other = rng.randrange(len(damaged))
            inserted = rng.choice([rng.choice(pieces), damaged[other : other + rng.randrange(60)]])
            damaged = damaged[:at] + inserted + damaged[until:] or " "
        refused = refusal(damaged)
        assert refused is None or refused.startswith(f"{SOURCE}: ")
        assert refused is None or refused.isprintable()
        outcomes[refused is None] += 1
    assert min(outcomes.values()) > 50


def test_formats_of_weights_are_kept(traced: ir.Model) -> None:
    """Replaying passes from a dump quantizes what they would have quantized without."""
    model = traced.clone()
    for name, value in traced.graph.initializers.items():  # clones share no recipes' metadata
        model.graph.initializers[name].const_value = value.const_value
    ChooseFormats("int4")(model)
    again = from_text(to_text(model), SOURCE)
    chosen = {name: format_of(value) for name, value in model.graph.initializers.items()}
    assert {name: format_of(value) for name, value in again.graph.initializers.items()} == chosen
    assert len(set(map(str, chosen.values()))) == 3
    passes = parse_pipeline(
        "fold-weight-layout,fuse-stored-linear,lower-to-linear,quantize-weights"
    )
    assert to_text(passes(again).model) == to_text(passes(model).model)
    assert "QuantizedLinear" in to_text(again)
