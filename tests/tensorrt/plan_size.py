"""Prints of how many bytes TensorRT-RTX makes a plan, with the profiles that our plans have.

A program of its own, since TensorRT may end it::

    python plan_size.py model.onnx sm89

Dimensions ``B`` and ``T`` of the model's inputs are its sequences and tokens.
"""

from __future__ import annotations

import sys
from pathlib import Path

from deltaport.exporter.tensorrt.build_plan import plan_builder
from deltaport.exporter.tensorrt.plan_options import PlanOptions
from deltaport.exporter.tensorrt.step_shapes import step_kinds
from deltaport.exporter.tensorrt.tensorrt_library import load_tensorrt


def plan_size(model: Path, gpu: str) -> int:
    tensorrt, options = load_tensorrt(), PlanOptions(gpu=gpu, prefill_tokens=64)
    made, trt = plan_builder(tensorrt, options), tensorrt.module
    network = made.builder.create_network(
        1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    )
    if not trt.OnnxParser(network, made.logger).parse(model.read_bytes()):
        raise ValueError(f"{model.name}: {made.logger.last}")
    inputs = [network.get_input(i) for i in range(network.num_inputs)]
    for kind in step_kinds(options.slots, options.prefill_tokens):
        profile = made.builder.create_optimization_profile()
        for each in inputs:
            known, rank = tuple(each.shape[2:]), len(each.shape)
            steps = zip(kind.batch, kind.tokens, strict=True)
            profile.set_shape(each.name, *((*step, *known)[:rank] for step in steps))
        made.config.add_optimization_profile(profile)
    plan = made.builder.build_serialized_network(network, made.config)
    if plan is None:
        raise ValueError(f"{model.name}: {made.logger.last}")
    return int(plan.nbytes)


if __name__ == "__main__":
    print(plan_size(Path(sys.argv[1]), sys.argv[2]))
