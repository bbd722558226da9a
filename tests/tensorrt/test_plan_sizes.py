"""TensorRT-RTX keeps weights in a plan once, and not once for every profile."""

from __future__ import annotations

import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from deltaport.graph_passes.clean.eliminate_dead_code import EliminateDeadCode
from deltaport.graph_passes.decoder_layout import set_layout
from deltaport.graph_passes.lower.lower_precision import LowerPrecision
from deltaport.graph_passes.lower.lower_to_tensorrt import LowerToTensorrt
from deltaport.graph_passes.pipeline import Pipeline
from deltaport.graph_passes.quantize.quantize_to_qdq import QuantizeToQdq
from deltaport.graph_passes.quantize.weight_tags import set_format
from deltaport.graph_passes.recipes.recipe import Source
from deltaport.graph_passes.recipes.recipe_tensor import RecipeTensor
from deltaport.state_layout import StateLayout
from deltaport.weight_format import WeightFormat
from tests.end_to_end.cpp_programs import run
from tests.passes.expansion_runner import evaluated
from tests.passes.graph_text import parse_graph
from tests.tensorrt.rtx import plan_gpus, require_rtx

BF16 = np.dtype(ml_dtypes.bfloat16)
PROGRAM = Path(__file__).with_name("plan_size.py")

PRODUCT = """g (bfloat16[B,T,512] stored, bfloat16[{size},512] w)
    => (float[B,T,{half}] first, float[B,T,{half}] second)
    <float[B,T,512] x, float[B,T,{size}] y> {{
    x = Cast<to = 1>(stored)
    y = ai.deltaport.Linear(x, w)
    first, second = Split<axis = -1, num_outputs = 2>(y)
}}"""
"""What is split behind it decides how TensorRT-RTX keeps the weight."""
MIXTURE = """g (bfloat16[B,T,256] stored, bfloat16[B,T,{experts}] router,
    bfloat16[{experts},256,256] gate_up, bfloat16[{experts},256,128] down, bfloat16[1,256] gate,
    bfloat16[{both},256] shared_gate_up, bfloat16[256,{inner}] shared_down, int64[B] lengths)
    => (float[B,T,256] y) <float[B,T,256] x, float[B,T,{experts}] logits> {{
    x = Cast<to = 1>(stored)
    logits = Cast<to = 1>(router)
    y = ai.deltaport.SharedExpertMoE<top_k = 2>(x, logits, gate_up, down, gate, shared_gate_up,
        shared_down, lengths)
}}"""
GRAPHS = {
    "product": [PRODUCT.format(size=size, half=size // 2) for size in (1024, 3072)],
    "experts": [MIXTURE.format(experts=experts, inner=64, both=128) for experts in (16, 48)],
    "shared expert": [MIXTURE.format(experts=4, inner=size, both=2 * size) for size in (512, 2048)],
}
"""Each with less weight, and with more."""


def lowered(text: str, format_: WeightFormat | None) -> ir.Model:
    """The graph as our plans are made of; inputs of which every size is known are weights."""
    inputs = {str(value.name): value.shape for value in parse_graph(text).graph.inputs}
    shapes = {
        name: tuple(int(dim) for dim in shape)
        for name, shape in inputs.items()
        if shape is not None and shape.is_static()
    }
    model = parse_graph(text, {name: Source(name, shapes[name], BF16) for name in shapes})
    set_layout(model, StateLayout(()))
    for name in shapes:
        if format_ is not None and name != "gate":
            set_format(model.graph.initializers[name], format_)
    passes = (QuantizeToQdq(), LowerPrecision("bfloat16", own_ops=True), LowerToTensorrt())
    Pipeline((*passes, EliminateDeadCode()))(model)
    return model


def sizes(model: ir.Model, file: Path, gpu: str) -> tuple[int, int]:
    """Bytes of the weights in the graph, and of the plan."""
    rng, arrays = np.random.default_rng(0), {}
    for value in model.graph.initializers.values():
        if isinstance(value.const_value, RecipeTensor):
            for source in value.const_value.recipe.walk():
                if isinstance(source, Source):
                    arrays[source.name] = rng.normal(size=source.shape).astype(BF16)
    proto = evaluated(model, arrays)
    del proto.functions[:]
    file.write_bytes(proto.SerializeToString())
    done = run(Path(sys.executable), PROGRAM, file, gpu)
    assert done.returncode == 0, done.stderr[-3000:]
    return sum(len(each.raw_data) for each in proto.graph.initializer), int(done.stdout)


@pytest.mark.parametrize("format_", [None, WeightFormat(8)], ids=["bfloat16", "int8"])
@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("gpu", plan_gpus())
def test_weights_are_in_a_plan_once(
    graph: str, format_: WeightFormat | None, gpu: str, tmp_path: Path
) -> None:
    """What a plan has besides does not grow with them."""
    require_rtx()
    found = [
        sizes(lowered(text, format_), tmp_path / f"{i}.onnx", gpu)
        for i, text in enumerate(GRAPHS[graph])
    ]
    stored, plan = (after - before for before, after in zip(*found, strict=True))
    assert 0.9 * stored < plan < 1.1 * stored
