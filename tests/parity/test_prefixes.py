"""Every prefix of a target's pipeline computes what transformers does: a wrong pass is found.

What ``deltaport verify --passes-prefix`` bisects by hand. A prefix that ends in a pass which
changed nothing is the one before it, and one that two targets share is run once.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir
import pytest

from deltaport.exporter.bind_weights import bind_weights
from deltaport.exporter.export_plan import CheckedCheckpoint, checked
from deltaport.graph_passes.decoder_layout import layout_of
from deltaport.graph_passes.lower.attach_function_bodies import AttachFunctionBodies
from deltaport.graph_passes.pass_text import pass_text
from deltaport.graph_passes.pipeline import default_pipeline
from deltaport.graph_passes.recipes.evaluate_recipe import evaluate
from deltaport.graph_passes.recipes.recipe_tensor import RecipeTensor
from deltaport.graph_passes.target_capabilities import TARGETS, TargetCapabilities
from deltaport.graph_passes.verify.all_checks import checks
from deltaport.numerics import Quantity, relative_error, tolerance
from deltaport.package import Manifest
from deltaport.runtime import Engine
from deltaport.runtime.engine import open_decoder
from tests.greedy import greedy
from tests.parity.conftest import Original, Subject
from tests.parity.oracle import GREEDY_TOKENS
from tests.parity.state_errors import state_errors
from tests.parity.targets import BISECTED, label
from tests.parity.traces import trace_once

PROMPTS = ((65, 17), (2, 512))
"""Lengths, each with the chunk size it is read in."""


@pytest.mark.parametrize("subject", BISECTED, ids=lambda each: label(*each), indirect=True)
def test_every_prefix_agrees_with_transformers(original: Original, subject: Subject) -> None:
    target = TARGETS[subject.target]
    manifest = subject.engine.manifest
    with checked(original.checkpoint, dtype=subject.dtype, accept_fields=()) as source:
        model = trace_once(source.spec, source.storage)
        bind_weights(model.graph, source.binding.recipes)
        run: tuple[str, ...] = ()
        if run not in original.prefixes:
            original.prefixes.add(run)
            _check(original, _engine(model, source, manifest, target), "the traced graph")
        for graph_pass in default_pipeline(target):
            modified = graph_pass(model).modified
            runnable = AttachFunctionBodies()(model.clone()).model
            for check in checks(kernels=target.kernels):
                check(runnable)
            if modified:
                run = (*run, pass_text(graph_pass))
                if run not in original.prefixes:
                    original.prefixes.add(run)
                    _check(original, _engine(model, source, manifest, target), ",".join(run))
    assert len(run) > 12


def _engine(
    model: ir.Model, source: CheckedCheckpoint, manifest: Manifest, target: TargetCapabilities
) -> Engine:
    """An engine of the graph as it is, in memory."""
    runnable = AttachFunctionBodies()(model.clone()).model
    for name, value in runnable.graph.initializers.items():
        tensor = value.const_value
        if isinstance(tensor, RecipeTensor):
            data = b"".join(evaluate(tensor.recipe, source.weights))
            value.const_value = ir.Tensor(
                np.frombuffer(data, tensor.recipe.dtype).reshape(tensor.recipe.shape), name=name
            )
    own = dataclasses.replace(manifest, state=layout_of(model), ragged=target.ragged)
    graph = ir.to_proto(runnable).SerializeToString()
    return Engine(source.folder, own, open_decoder(source.folder, own, graph=graph, threads=2))


def _check(original: Original, engine: Engine, where: str) -> None:
    for length, chunk_size in PROMPTS:
        reference = original.prompt(original.case.seed, length)
        session = engine.session()
        (logits,) = session.prefill([reference.prompt], chunk_size=chunk_size, logits="all")
        assert logits is not None
        assert relative_error(logits, reference.logits) <= tolerance(Quantity.LOGITS), where
        for kind, error in state_errors(session, reference).items():
            assert error <= tolerance(Quantity.MODEL_STATE), f"{where}: {kind}"
        assert greedy(session, new=GREEDY_TOKENS, stop=()) == [reference.greedy], where
