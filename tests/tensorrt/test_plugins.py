"""What TensorRT asks plugins while it builds an engine, answered without a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest

from deltaport.custom_ops.definitions import DEFINITIONS
from tests.oracles import Array
from tests.tensorrt.abi import CHANNELS_LAST, TYPES, Tensor
from tests.tensorrt.mock_host import REQUIRED, RUNTIME, Library, Plugin
from tests.tensorrt.test_ports import OPS, PLUGINS, taken_as

MIXTURES = PLUGINS["sparse_moe"]
ACTIVATIONS = ("float32", "bfloat16", "float16")
SIZES = {"B": 2, "T": 5, "C": 6, "K": 4, "Hk": 2, "Hv": 4, "Dk": 16, "Dv": 12}
SIZES |= {"H": 40, "E": 4, "I": 3, "Is": 7}
# Of quantized mixtures whose widths are those of the attributes: blocks of 32 inputs.
SIZES |= {"It": 3, "Ht": 3, "Kg": 2, "Kb": 2, "bits": 4, "S": 2, "Ig": 2, "Ib": 2, "dbits": 8}
SIZES |= {"dS": 2, "st": 5, "sKg": 2, "sKb": 2, "sbits": 8, "sS": 2, "sg": 3, "sb": 3}
SIZES |= {"sdbits": 4, "sdS": 2}


def single(value: float) -> Array:
    return np.array([value], np.float32)


def whole(value: int) -> Array:
    return np.array([value], np.int64)


def some_attributes(op: str) -> dict[str, Array]:
    """A value for each, which is none that it has by itself."""
    return {
        name: single(0.5 + i) if attribute.dtype == "float" else whole(REQUIRED[name] + 1)
        for i, (name, attribute) in enumerate(DEFINITIONS[op].attributes.items())
    }


def shapes(op: str, **sizes: int) -> list[tuple[int, ...]]:
    """Shapes of all ports, inputs first."""
    known = SIZES | sizes
    ports = (*DEFINITIONS[op].inputs, *DEFINITIONS[op].outputs)
    return [tuple(eval(size, {}, known) for size in port.shape.split(",")) for port in ports]


def types(op: str, activation: str) -> list[str]:
    """Types of all ports, inputs first."""
    ports = (*DEFINITIONS[op].inputs, *DEFINITIONS[op].outputs)
    taken = [taken_as(op, port) for port in ports]
    return [activation if dtype == "activation" else dtype for dtype in taken]


def tensors(op: str, activation: str = "bfloat16", /, **sizes: int) -> list[Tensor]:
    return list(zip(types(op, activation), shapes(op, **sizes), strict=True))


def replaced(tensors: Sequence[Tensor], op: str, **given: tuple[int, ...]) -> list[Tensor]:
    """The tensors, of which those of these ports have other shapes."""
    ports = (*DEFINITIONS[op].inputs, *DEFINITIONS[op].outputs)
    return [
        (dtype, given.get(port.name, shape))
        for (dtype, shape), port in zip(tensors, ports, strict=True)
    ]


def refusal(library: Library, status: object) -> str:
    """The one line logged, as an error, where a call failed."""
    assert status in (-1, None)
    (line,) = library.host.log()
    assert line.startswith("1 deltaport: ")
    return line.removeprefix("1 deltaport: ")


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_types_of_a_call(adapter: Library, op: str, activation: str) -> None:
    plugin, expected = adapter.plugin(op), types(op, activation)
    inputs = len(DEFINITIONS[op].inputs)
    assert plugin.outputs() == len(expected) - inputs
    assert plugin.output_types(expected[:inputs]) == expected[inputs:]
    for position in range(len(expected)):
        assert plugin.supports(position, expected)
        assert not plugin.supports(position, expected, CHANNELS_LAST)
        assert not plugin.supports(position, expected[:-1])
    for position, other in product(range(len(expected)), TYPES):
        mixed = [*expected]
        mixed[position] = other
        may_be = other in ACTIVATIONS if position == 0 else other == expected[position]
        assert plugin.supports(position, mixed) == may_be
    assert adapter.host.log() == []


@pytest.mark.parametrize("op", OPS)
def test_a_wrong_type_is_an_error_of_the_graph(adapter: Library, op: str) -> None:
    plugin, inputs = adapter.plugin(op), DEFINITIONS[op].inputs
    for position, port in enumerate(inputs):
        wrong = types(op, "bfloat16")[: len(inputs)]
        right = wrong[position]
        wrong[position] = "int32"
        expected = right if position > 0 else "float32, bfloat16 or float16"
        assert refusal(adapter, plugin.output_types(wrong)) == (
            f"{op}: {port.name} is int32, but has to be {expected}"
        )


@pytest.mark.parametrize("op", OPS)
def test_shapes_of_outputs(adapter: Library, op: str) -> None:
    """Rows and tokens are not known while an engine is built, and may not be asked for."""
    plugin, inputs = adapter.plugin(op), len(DEFINITIONS[op].inputs)
    for B, T in ((1, 1), (3, 70)):
        known, unknown = shapes(op, B=B, T=T), shapes(op, B=-1 - B, T=-1 - T)
        assert plugin.output_shapes(known[:inputs]) == known[inputs:]
        assert plugin.output_shapes(unknown[:inputs]) == known[inputs:]
    assert adapter.host.log() == []


@pytest.mark.parametrize("op", OPS)
def test_a_call_whose_sizes_fit(adapter: Library, op: str) -> None:
    plugin = adapter.plugin(op)
    assert plugin.configure(tensors(op)) == 0
    assert plugin.configure(tensors(op, B=-1, T=-1)) == 0
    assert plugin.on_shape_change(tensors(op)) == 0
    assert (plugin.workspace(tensors(op, B=-1, T=-1), shapes(op)) > 0) == (op in MIXTURES)
    assert adapter.host.log() == []


@pytest.mark.parametrize("op", OPS)
def test_every_dimension_has_to_fit_the_others(adapter: Library, op: str) -> None:
    plugin = adapter.plugin(op)
    fitting = tensors(op)
    for position, (dtype, shape) in enumerate(fitting):
        for axis in range(len(shape)):
            wrong = [*fitting]
            wrong[position] = dtype, (*shape[:axis], shape[axis] + 1, *shape[axis + 1 :])
            line = refusal(adapter, plugin.on_shape_change(wrong))
            assert line.startswith(f"{op}: ")
            assert "which does not fit" in line or "but the kernel takes" in line
            refusal(adapter, plugin.configure(wrong))
        wrong[position] = dtype, (*shape, 1)
        refusal(adapter, plugin.on_shape_change(wrong))


@pytest.mark.parametrize("op", MIXTURES)
def test_largest_sizes_that_do_not_fit_each_other(adapter: Library, op: str) -> None:
    """Before a workspace is asked for, whose size could not tell."""
    plugin, largest = adapter.plugin(op), shapes(op, B=3, T=70)
    unknown = tensors(op, B=-1, T=-1)
    assert plugin.configure(unknown, largest) == 0
    largest[1] = (3, 71, SIZES["E"])
    expected = f"{op}: router_logits is [3,71,4], which does not fit [B,T,E] with B=3 T=70 H=40"
    assert refusal(adapter, plugin.configure(unknown, largest)) == expected


def status(plugin: Plugin, op: str, calls: list[Tensor]) -> int:
    """What all that is asked for shapes answers, which is the same."""
    inputs = [shape for _, shape in calls[: len(DEFINITIONS[op].inputs)]]
    answers = {plugin.on_shape_change(calls), plugin.configure(calls)}
    found = plugin.output_shapes(inputs)
    (answer,) = answers | {found if isinstance(found, int) else 0}
    return answer


@pytest.mark.parametrize(
    ("op", "sizes", "message"),
    [
        ("CausalConv1d", {"K": 5}, "K is 5, but the kernel takes 2 to 4"),
        ("CausalConv1d", {"K": 1}, "K is 1, but the kernel takes 2 to 4"),
        ("GatedDeltaRule", {"Dk": 129}, "Dk is 129, but the kernel takes 1 to 128"),
        ("GatedDeltaRule", {"Dv": 256}, "Dv is 256, but the kernel takes 1 to 128"),
        ("GatedDeltaRuleNorm", {"Dk": 256}, "Dk is 256, but the kernel takes 1 to 128"),
        ("GatedDeltaRuleNorm", {"Dv": 129}, "Dv is 129, but the kernel takes 1 to 128"),
        ("GatedDeltaRule", {"Hk": 3}, "Hv is 4, which is no multiple of Hk, 3"),
        ("SparseMoE", {"E": 1025}, "E is 1025, but the kernel takes 1 to 1024"),
        ("SharedExpertMoE", {"E": 1}, "top_k is 2, but the kernel takes 1 to 1, the experts"),
        ("QuantizedMoE", {"E": 1}, "top_k is 2, but the kernel takes 1 to 1, the experts"),
        ("QuantizedMoE", {"bits": 5}, "bits is 5, but the kernel takes 4 or 8"),
        ("QuantizedMoE", {"dS": 3}, "dS is 3, but the kernel takes 1 to 2"),
        (
            "QuantizedMoE",
            {"It": 2},
            "gate_up has 2 tiles of 16 rows, which does not fit a width of 40",
        ),
        (
            "QuantizedMoE",
            {"Ig": 3},
            "down has 3 groups of 32 inputs in 2 blocks, which does not fit a width of 40",
        ),
        (
            "QuantizedSharedExpertMoE",
            {"Kg": 4, "Kb": 4},
            "gate_up has 4 groups of 32 inputs in 4 blocks, which does not fit a width of 40",
        ),
        (
            "QuantizedSharedExpertMoE",
            {"st": 3},
            "shared_gate_up has 3 tiles of 16 rows, which does not fit a width of 70",
        ),
        ("QuantizedSharedExpertMoE", {"sdbits": 16}, "sdbits is 16, but the kernel takes 4 or 8"),
        (
            "GatedDeltaRule",
            {"B": 0},
            "qkv is [0,5,112], which does not fit [B,T,2*Hk*Dk+Hv*Dv]",
        ),
        ("CausalConv1d", {"T": 0}, "x is [2,0,6], which does not fit [B,T,C] with B=2"),
    ],
)
def test_sizes_no_kernel_takes(
    adapter: Library, op: str, sizes: dict[str, int], message: str
) -> None:
    plugin, calls = adapter.plugin(op), tensors(op, **sizes)
    assert status(plugin, op, calls) == -1
    assert adapter.host.log() == [f"1 deltaport: {op}: {message}"] * 3


def test_the_widest_heads(adapter: Library) -> None:
    for op in PLUGINS["gated_delta_rule"]:
        assert status(adapter.plugin(op), op, tensors(op, Dk=128, Dv=128, Hk=1, Hv=3)) == 0
    for K in (2, 3, 4):
        assert status(adapter.plugin("CausalConv1d"), "CausalConv1d", tensors(OPS[0], K=K)) == 0
    assert adapter.host.log() == []


@pytest.mark.parametrize("op", MIXTURES)
def test_the_most_experts(adapter: Library, op: str) -> None:
    most = adapter.plugin(op, top_k=whole(16))
    assert status(most, op, tensors(op, E=1024)) == 0
    assert status(most, op, tensors(op, E=16)) == 0
    assert adapter.host.log() == []
    for top_k, E, limit in (
        (17, 1024, "16"),
        (16, 15, "15, the experts"),
        (17, 16, "16, the experts"),
    ):
        plugin, calls = adapter.plugin(op, top_k=whole(top_k)), tensors(op, E=E)
        assert status(plugin, op, calls) == -1
        message = f"top_k is {top_k}, but the kernel takes 1 to {limit}"
        assert {line.split(": ", 2)[2] for line in adapter.host.log()} == {message}


@pytest.mark.parametrize("op", MIXTURES)
def test_a_mixture_says_how_many_experts_a_token_has_and_how_wide_codes_are(
    adapter: Library, op: str
) -> None:
    given: dict[str, Array] = {}
    for name in DEFINITIONS[op].attributes:
        refused = refusal(adapter, adapter[op].create(given))
        assert refused == f"{op}: the attribute {name} is missing"
        refused = refusal(adapter, adapter[op].create(given | {name: whole(0)}))
        assert refused == f"{op}: the attribute {name} is 0, but has to be finite and at least 1"
        given[name] = whole(3)


@pytest.mark.parametrize("groups", [2, 3, 8])
@pytest.mark.parametrize("numbers", [1, 2])
def test_blocks_of_any_size(adapter: Library, groups: int, numbers: int) -> None:
    """One that is wider than all inputs is padded."""
    op = "QuantizedSharedExpertMoE"
    blocks = {"Kg": groups, "Kb": 1, "sKg": groups, "sKb": 1, "S": numbers, "sS": numbers}
    assert status(adapter.plugin(op), op, tensors(op, **blocks)) == 0
    assert adapter.host.log() == []


def test_a_width_that_no_number_of_key_heads_has(adapter: Library) -> None:
    op = "GatedDeltaRule"
    wrong = replaced(tensors(op), op, qkv=(2, 5, 4 * 12 + 33))
    assert refusal(adapter, adapter.plugin(op).on_shape_change(wrong)) == (
        f"{op}: qkv is [2,5,81], which does not fit [B,T,2*Hk*Dk+Hv*Dv] with "
        "B=2 T=5 Dk=16 Hv=4 Dv=12"
    )


@pytest.mark.parametrize("op", OPS)
def test_a_node_of_another_number_of_tensors(adapter: Library, op: str) -> None:
    plugin = adapter.plugin(op)
    for call in (
        lambda: plugin.output_types(types(op, "float32")[:1]),
        lambda: plugin.output_shapes(shapes(op)[:1]),
        lambda: plugin.configure(tensors(op)[:-1]),
        lambda: plugin.on_shape_change(tensors(op)[:-1]),
    ):
        assert "outputs, which are not those of " + plugin.metadata() in refusal(adapter, call())


@pytest.mark.parametrize("op", OPS)
def test_attributes_survive_an_engine_file(adapter: Library, op: str) -> None:
    given = some_attributes(op)
    plugin = adapter.plugin(op, **given)
    copies = [plugin.clone(), plugin.attach(), plugin.attach().clone()]
    fields = {name: value for name, (_, value) in plugin.serialized().items() if value is not None}
    loaded = adapter[op].create(fields, RUNTIME)
    assert loaded is not None
    del plugin  # copies live on by themselves
    for copy in (*copies, loaded):
        assert copy.serialized() == {n: (value.dtype.name, value) for n, value in given.items()}
        assert copy.names() == (op, adapter[op].version, adapter[op].namespace)
        assert copy.on_shape_change(tensors(op)) == 0


@pytest.mark.parametrize("op", [op for op in OPS if op not in MIXTURES])
def test_attributes_left_out_have_the_defaults(adapter: Library, op: str) -> None:
    found = adapter.plugin(op).serialized()
    assert found == {
        name: ("float32", single(attribute.default))
        for name, attribute in DEFINITIONS[op].attributes.items()
    }


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"eps": single(1)}, "there is no attribute eps"),
        ({"norm_eps": np.ones(1)}, "the attribute norm_eps is not one float"),
        ({"norm_eps": np.ones(1, np.int64)}, "the attribute norm_eps is not one float"),
        ({"norm_eps": np.ones(2, np.float32)}, "the attribute norm_eps is not one float"),
        ({"norm_eps": np.ones(0, np.float32)}, "the attribute norm_eps is not one float"),
        *(
            (
                {"norm_eps": single(value)},
                f"the attribute norm_eps is {value:g}, but has to be finite and at least 0",
            )
            for value in (-1, np.inf, -np.inf, np.nan)
        ),
    ],
)
@pytest.mark.parametrize("phase", [0, RUNTIME])
def test_attributes_no_op_has(
    adapter: Library, fields: dict[str, Array], message: str, phase: int
) -> None:
    op = "GatedDeltaRule"
    assert refusal(adapter, adapter[op].create(fields, phase)) == f"{op}: {message}"
